//! How declared columns come about, and how their values are written.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::physical_plan::PhysicalExpr;

use super::options::Settings;
use crate::error::Result;
use crate::stream::connector::format::digits::Digits;

/// A declared column's form.
#[derive(Debug, Clone, Default)]
pub struct Form {
    /// Digits of a second that it is declared with, where it is.
    pub digits: Option<u32>,
    pub origin: Origin,
}

/// Where a column's values come from.
#[derive(Debug, Clone, Default)]
pub enum Origin {
    #[default]
    Source,
    /// The names of a file's folders.
    Path(Option<String>),
    Computed(Computed),
}

/// An expression over the columns that are not computed.
#[derive(Debug, Clone)]
pub struct Computed {
    pub expr: Arc<dyn PhysicalExpr>,
    /// As it is written.
    pub text: String,
}

/// How times are written, unless as RFC 3339 has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// Numbers are so many of these since 1970.
    unit: Option<TimeUnit>,
    /// As `strftime` has it.
    format: Option<String>,
}

/// Words of the option `timestamp_unit`.
const UNITS: [(&str, TimeUnit); 4] = [
    ("s", TimeUnit::Second),
    ("ms", TimeUnit::Millisecond),
    ("us", TimeUnit::Microsecond),
    ("ns", TimeUnit::Nanosecond),
];

impl Times {
    /// The options `timestamp_unit` and `timestamp_format`.
    pub fn new(settings: &mut Settings) -> Result<Self> {
        let unit = match settings.text("timestamp_unit") {
            None => None,
            Some(text) => {
                let found = UNITS.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
                let wrong = || {
                    let words = UNITS.map(|(word, _)| word).join(", ");
                    settings.error(format!("timestamp_unit = '{text}': one of {words} is wanted"))
                };
                Some(found.ok_or_else(wrong)?.1)
            }
        };
        let format = settings.text("timestamp_format");
        let known = |format: &String| {
            chrono::format::StrftimeItems::new(format)
                .all(|item| item != chrono::format::Item::Error)
        };
        if let Some(format) = format.as_ref().filter(|format| !known(format)) {
            return Err(settings.error(format!(
                "timestamp_format = '{format}': strftime has it so, such as '%d/%m/%Y %H:%M:%S'"
            )));
        }
        Ok(Self { unit, format })
    }

    /// For what tells one log from another.
    pub fn identity(&self) -> String {
        let unit = UNITS.iter().find(|(_, unit)| Some(*unit) == self.unit);
        let unit = unit.map_or(String::new(), |(word, _)| format!(", times in {word}"));
        let format = self.format.as_ref().map_or(String::new(), |f| format!(", times as {f}"));
        unit + &format
    }

    /// Whether numbers may be times.
    pub fn numbers(&self) -> bool {
        self.unit.is_some()
    }

    /// Times as RFC 3339 has them; what is none stays as it is. `None` where none is another.
    pub fn plain(&self, column: &ArrayRef) -> Result<Option<ArrayRef>> {
        if self.unit.is_none() && self.format.is_none() {
            return Ok(None);
        }
        let texts = cast(column, &DataType::Utf8)?;
        let plain = |text: &str| self.of_number(text).or_else(|| self.of_text(text));
        let texts = texts.as_string::<i32>().iter();
        let texts = texts.map(|text| text.map(|text| plain(text).unwrap_or_else(|| text.into())));
        Ok(Some(Arc::new(texts.collect::<StringArray>())))
    }

    fn of_number(&self, text: &str) -> Option<String> {
        let places = match self.unit? {
            TimeUnit::Second => 9,
            TimeUnit::Millisecond => 6,
            TimeUnit::Microsecond => 3,
            TimeUnit::Nanosecond => 0,
        };
        let ticks = Digits::read(text)?.shifted(places).integer()?;
        let second = i64::try_from(ticks.div_euclid(1_000_000_000)).ok()?;
        let rest = u32::try_from(ticks.rem_euclid(1_000_000_000)).ok()?;
        let time = DateTime::from_timestamp(second, rest)?;
        Some(time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
    }

    fn of_text(&self, text: &str) -> Option<String> {
        let format = self.format.as_deref()?;
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.format("%Y-%m-%dT%H:%M:%S%.f%:z").to_string());
        }
        let time = NaiveDateTime::parse_from_str(text, format).ok().or_else(|| {
            Some(NaiveDate::parse_from_str(text, format).ok()?.and_time(NaiveTime::MIN))
        })?;
        Some(time.format("%Y-%m-%dT%H:%M:%S%.f").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_many_spellings() {
        let ms = Times { unit: Some(TimeUnit::Millisecond), format: None };
        for (text, want) in [
            ("1704067200000", Some("2024-01-01T00:00:00Z")),
            ("-1", Some("1969-12-31T23:59:59.999Z")),
            ("1.7040672e12", Some("2024-01-01T00:00:00Z")),
            ("0.0015", Some("1970-01-01T00:00:00.000001500Z")),
            ("2024-01-01", None),
        ] {
            assert_eq!(ms.of_number(text).as_deref(), want, "{text}");
        }
        let german = Times { unit: None, format: Some("%d.%m.%Y %H:%M".to_string()) };
        assert_eq!(german.of_text("31.01.2024 05:06").as_deref(), Some("2024-01-31T05:06:00"));
        assert_eq!(german.of_text("2024"), None);
        let zoned = Times { unit: None, format: Some("%Y%m%dT%H%M%S%z".to_string()) };
        let want = Some("2024-01-31T05:06:07+02:00");
        assert_eq!(zoned.of_text("20240131T050607+0200").as_deref(), want);
        let day = Times { unit: None, format: Some("%m/%d/%Y".to_string()) };
        assert_eq!(day.of_text("01/31/2024").as_deref(), Some("2024-01-31T00:00:00"));
    }
}
