//! Messages of Arrow and its readers of CSV, IPC and Parquet.

use super::number_behind;

/// What arrow-csv says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsvFault<'a> {
    /// A value is not of its column's type. The record and the column count from 0.
    Value { record: u64, column: u64, value: &'a str, kind: &'a str },
    /// A record has other values than the header has names. The record counts from 1.
    Count { record: u64, expected: &'a str, found: &'a str },
}

/// What a message of arrow-csv's reader says: `Error while parsing value 'x' as type 'Int64' for
/// column 1 at line 4. ..` or `incorrect number of fields for line 3, expected 2 got 1`.
pub fn csv_fault(text: &str) -> Option<CsvFault<'_>> {
    if let Some((value, behind)) =
        text.strip_prefix("Error while parsing value '").and_then(|v| v.split_once("' as type '"))
    {
        let (kind, place) = behind.split_once("' for column ")?;
        let column = number_behind(behind, "' for column ")?;
        return Some(CsvFault::Value {
            record: number_behind(place, " at line ")?,
            column,
            value,
            kind,
        });
    }
    let counts = text.strip_prefix("incorrect number of fields for line ")?;
    let (_, counts) = counts.split_once(", expected ")?;
    let (expected, found) = counts.split_once(" got ")?;
    Some(CsvFault::Count { record: number_behind(text, " for line ")?, expected, found })
}

/// The line, and the values that are expected and found there, of what arrow-csv says of a file
/// whose types it tells: `Encountered unequal lengths between records on CSV file. Expected 2
/// records, found 3 records at line 2`.
pub fn unequal_lengths(text: &str) -> Option<[u64; 3]> {
    let counts = text.strip_prefix("Encountered unequal lengths between records on CSV file. ")?;
    let numbers = ["at line ", "Expected ", ", found "].map(|mark| number_behind(counts, mark));
    let [Some(line), Some(expected), Some(found)] = numbers else { return None };
    Some([line, expected, found])
}

/// Whether an error of parsing is that bytes are no message of Arrow IPC.
pub fn of_no_ipc_message(text: &str) -> bool {
    text.starts_with("Unable to get root as ")
}

/// What Parquet said, of an error that was made one of Arrow.
pub fn of_parquet(text: &str) -> &str {
    text.strip_prefix("Parquet error: ").unwrap_or(text)
}

/// Whether a panic is that values do not fit one array, whose offsets have 32 bits. Where strings
/// are put together it says no more than that there is no value, and is known by its file.
pub fn is_overflow(panic: &str) -> bool {
    ["offset overflow", "concat_elements.rs"].iter().any(|mark| panic.contains(mark))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};

    use arrow::array::StringArray;
    use arrow::buffer::{Buffer, MutableBuffer, OffsetBuffer, ScalarBuffer};
    use arrow::csv::ReaderBuilder;
    use arrow::csv::reader::Format;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::error::ArrowError;
    use arrow::ipc::reader::FileReader;
    use datafusion::parquet::errors::ParquetError;

    use super::*;

    fn csv(text: &str, truncated: bool) -> String {
        let field = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b")]));
        let builder = ReaderBuilder::new(schema).with_truncated_rows(truncated);
        let mut reader = builder.build(Cursor::new(text.to_string())).unwrap();
        match reader.find_map(Result::err).unwrap() {
            ArrowError::CsvError(text) | ArrowError::ParseError(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_of_csv_are_told_apart() {
        let text = csv("1,2\n3,it's\n", false);
        let wanted = CsvFault::Value { record: 1, column: 1, value: "it's", kind: "Int64" };
        assert_eq!(csv_fault(&text), Some(wanted), "{text}");
        for (lines, expected, found) in
            [("1,2\n3\n", "2", "1"), ("1,2\n3,4,5\n", "2", "3"), ("1,2\n3,4,5,6,7\n", "2", "5")]
        {
            let text = csv(lines, false);
            let Some(CsvFault::Count { record: 2, expected: e, found: f }) = csv_fault(&text)
            else {
                panic!("{text}");
            };
            // The reader may stop to count.
            assert!(e == expected && (f == found || f.starts_with("more than ")), "{text}");
        }
        let text = csv("1,2\n3,4,5\n", true);
        assert!(matches!(csv_fault(&text), Some(CsvFault::Count { .. })), "{text}");
    }

    #[test]
    fn unequal_records_are_counted() {
        let format = Format::default().with_header(true);
        let told = format.infer_schema(Cursor::new("a,b\n1,2\n1,2,3\n"), None).unwrap_err();
        let ArrowError::CsvError(text) = told else { panic!("{told:?}") };
        assert_eq!(unequal_lengths(&text), Some([3, 2, 3]), "{text}");
    }

    #[test]
    fn bytes_that_are_no_message_are_known() {
        // A file whose footer points nowhere.
        let mut bytes = b"ARROW1\0\0".to_vec();
        bytes.extend([0xff; 64]);
        bytes.extend(64_i32.to_le_bytes());
        bytes.extend(b"ARROW1");
        let Err(ArrowError::ParseError(text)) = FileReader::try_new(Cursor::new(bytes), None)
        else {
            panic!("a footer that points nowhere is read");
        };
        assert!(of_no_ipc_message(&text), "{text}");
    }

    #[test]
    fn parquet_is_told_without_its_layer() {
        let error = ArrowError::from(ParquetError::General("planted".into()));
        let ArrowError::ParquetError(text) = error else { panic!("{error:?}") };
        assert_ne!(text, "planted");
        assert_eq!(of_parquet(&text), "planted");
    }

    #[test]
    fn offsets_that_overflow_are_known() {
        let panic = catch_unwind(|| OffsetBuffer::<i32>::from_lengths([i32::MAX as usize, 1]));
        let text = crate::task::said(panic.unwrap_err().as_ref()).to_string();
        assert!(is_overflow(&text), "{text}");
        assert!(!is_overflow("attempt to add with overflow"));
    }

    /// Two values of 1 GiB, put together.
    #[test]
    fn strings_that_overflow_are_known_by_the_file() {
        static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map(|at| at.file().to_string());
            PLACES.lock().unwrap().extend(file);
            before(panic);
        }));
        let bytes = 1_usize << 30;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 1 << 30]));
        let zeros = Buffer::from(MutableBuffer::from_len_zeroed(bytes));
        let value = StringArray::new(offsets, zeros, None);
        let joined = AssertUnwindSafe(|| {
            arrow::compute::kernels::concat_elements::concat_elements_utf8(&value, &value).is_ok()
        });
        let panic = catch_unwind(joined).unwrap_err();
        let said = crate::task::said(panic.as_ref());
        assert!(!said.contains("offset overflow"), "it says more now: {said}");
        assert!(PLACES.lock().unwrap().iter().any(|place| is_overflow(place)), "{said}");
    }
}
