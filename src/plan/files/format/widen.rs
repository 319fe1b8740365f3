//! One type for the values of several files: the narrowest that holds those of all.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

use super::parquet::INT96;

/// Digits of the largest decimal.
const DECIMAL128_DIGITS: u8 = 38;
const DECIMAL256_DIGITS: u8 = 76;

/// A column that holds the values of both; `None` where there is no type for it. The name is the
/// first one's.
pub fn common_field(a: &Field, b: &Field) -> Option<Field> {
    use DataType::Timestamp;
    let int96 = |field: &Field| field.metadata().contains_key(INT96);
    let kind = match (a.data_type(), b.data_type()) {
        // Times of 96 bits are of UTC, though their type has no zone.
        (Timestamp(x, None), Timestamp(y, Some(zone))) if int96(a) => {
            Timestamp(*x.max(y), Some(Arc::clone(zone)))
        }
        (Timestamp(x, Some(zone)), Timestamp(y, None)) if int96(b) => {
            Timestamp(*x.max(y), Some(Arc::clone(zone)))
        }
        (a, b) => common_type(a, b)?,
    };
    let both = int96(a) && int96(b);
    let mut notes = a.metadata().clone();
    if !both {
        notes.remove(INT96);
    }
    let nullable = a.is_nullable() || b.is_nullable();
    Some(Field::new(a.name(), kind, nullable).with_metadata(notes))
}

/// A type that both fit into. Only whole numbers that become floats may lose digits.
pub fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Dictionary, Float16, Float32, Float64, LargeBinary,
        LargeList, LargeUtf8, List, Null, Struct, Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    Some(match (a, b) {
        _ if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Dictionary(_, a), b) | (b, Dictionary(_, a)) => common_type(a, b)?,
        (Float16, Float32) | (Float32, Float16) => Float32,
        _ if a.is_floating() && b.is_floating() => Float64,
        _ if a.is_floating() && is_exact(b) || is_exact(a) && b.is_floating() => Float64,
        _ if a.is_integer() && b.is_integer() => integer(a, b),
        _ if is_exact(a) && is_exact(b) => decimal(a, b)?,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => widest(a, b, &LargeUtf8),
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => {
            widest(a, b, &LargeBinary)
        }
        (Date32, Date64) | (Date64, Date32) => Date64,
        (Date32, Timestamp(..)) => b.clone(),
        (Timestamp(..), Date32) => a.clone(),
        (Timestamp(x, None), Timestamp(y, None)) => Timestamp(*x.max(y), None),
        // Instants, whatever the zone they are shown in.
        (Timestamp(x, Some(zone)), Timestamp(y, Some(_))) => {
            Timestamp(*x.max(y), Some(Arc::clone(zone)))
        }
        (Time32(x) | Time64(x), Time32(y) | Time64(y)) => match *x.max(y) {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => Time32(unit),
            unit => Time64(unit),
        },
        (List(x), List(y)) => List(common_item(x, y)?),
        (LargeList(x), LargeList(y) | List(y)) | (List(x), LargeList(y)) => {
            LargeList(common_item(x, y)?)
        }
        (Struct(x), Struct(y)) => Struct(common_fields(x, y)?),
        _ => return None,
    })
}

/// Numbers without rounding.
fn is_exact(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_decimal()
}

/// Text or bytes in two ways: as views, if one is; else with the larger offsets.
fn widest(a: &DataType, b: &DataType, large: &DataType) -> DataType {
    let view = |kind: &&DataType| matches!(kind, DataType::Utf8View | DataType::BinaryView);
    [a, b].into_iter().find(view).unwrap_or(large).clone()
}

fn integer(a: &DataType, b: &DataType) -> DataType {
    let bits = |kind: &DataType| kind.primitive_width().unwrap_or(8) * 8;
    let (signed, unsigned): (Vec<&DataType>, Vec<&DataType>) =
        [a, b].into_iter().partition(|kind| kind.is_signed_integer());
    let (Some(signed), Some(unsigned)) = (signed.first(), unsigned.first()) else {
        return if bits(a) >= bits(b) { a.clone() } else { b.clone() };
    };
    match bits(signed).max(2 * bits(unsigned)) {
        ..=16 => DataType::Int16,
        17..=32 => DataType::Int32,
        33..=64 => DataType::Int64,
        _ => DataType::Decimal128(20, 0),
    }
}

fn decimal(a: &DataType, b: &DataType) -> Option<DataType> {
    // Digits before the point, and behind it.
    let digits = |kind: &DataType| {
        Some(match kind {
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => (*p as i16, *s as i16),
            DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => (*p as i16, *s as i16),
            DataType::Int8 | DataType::UInt8 => (3, 0),
            DataType::Int16 | DataType::UInt16 => (5, 0),
            DataType::Int32 | DataType::UInt32 => (10, 0),
            DataType::Int64 => (19, 0),
            DataType::UInt64 => (20, 0),
            _ => return None,
        })
    };
    let ((p, s), (q, t)) = (digits(a)?, digits(b)?);
    let scale = s.max(t);
    let precision = u8::try_from((p - s).max(q - t) + scale).ok()?;
    let scale = i8::try_from(scale).ok()?;
    match precision <= DECIMAL128_DIGITS {
        true => Some(DataType::Decimal128(precision, scale)),
        false if precision <= DECIMAL256_DIGITS => Some(DataType::Decimal256(precision, scale)),
        false => None,
    }
}

fn common_item(a: &FieldRef, b: &FieldRef) -> Option<FieldRef> {
    Some(Arc::new(common_field(a, b)?))
}

/// The members of both, by name; those that one lacks are NULL there.
fn common_fields(a: &Fields, b: &Fields) -> Option<Fields> {
    let of = |fields: &Fields, name: &str| fields.iter().find(|f| f.name() == name).cloned();
    let mut common = Vec::new();
    for field in a {
        common.push(match of(b, field.name()) {
            Some(other) => common_field(field, &other)?,
            None => field.as_ref().clone().with_nullable(true),
        });
    }
    let only = b.iter().filter(|field| of(a, field.name()).is_none());
    common.extend(only.map(|field| field.as_ref().clone().with_nullable(true)));
    Some(common.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_to_what_holds_both_or_not_at_all() {
        use DataType::{
            Boolean, Date32, Decimal128, Decimal256, Float32, Float64, Int8, Int16, Int32, Int64,
            Null, Timestamp, UInt8, UInt32, UInt64, Utf8, Utf8View,
        };
        let seconds = Timestamp(TimeUnit::Second, None);
        let millis = Timestamp(TimeUnit::Millisecond, None);
        for (a, b, both) in [
            (Int64, Float64, Some(Float64)),
            (Int32, Float32, Some(Float64)),
            (Float32, Float64, Some(Float64)),
            (Int32, Int64, Some(Int64)),
            (UInt8, Int8, Some(Int16)),
            (UInt32, Int64, Some(Int64)),
            (UInt64, Int8, Some(Decimal128(20, 0))),
            (Decimal128(7, 2), Decimal128(18, 2), Some(Decimal128(18, 2))),
            (Decimal128(7, 2), Decimal128(18, 4), Some(Decimal128(18, 4))),
            (Decimal128(38, 0), Decimal128(10, 5), Some(Decimal256(43, 5))),
            (Int64, Decimal128(7, 2), Some(Decimal128(21, 2))),
            (Null, Date32, Some(Date32)),
            (millis.clone(), seconds.clone(), Some(millis)),
            (Date32, seconds.clone(), Some(seconds)),
            (Utf8, Utf8View, Some(Utf8View)),
            (Int64, Utf8, None),
            (Boolean, Int64, None),
        ] {
            assert_eq!(common_type(&a, &b), both, "{a} and {b}");
            assert_eq!(common_type(&b, &a), both, "{b} and {a}");
        }
    }

    #[test]
    fn times_of_96_bits_are_of_utc() {
        let micros = |zone: Option<&str>| {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
            Field::new("t", kind, true)
        };
        let int96 = micros(None).with_metadata([(INT96.to_string(), String::new())].into());
        assert_eq!(common_field(&int96, &micros(Some("UTC"))), Some(micros(Some("UTC"))));
        assert_eq!(common_field(&micros(Some("UTC")), &int96), Some(micros(Some("UTC"))));
        assert_eq!(common_field(&int96, &micros(None)), Some(micros(None)));
        assert_eq!(common_field(&micros(None), &micros(Some("UTC"))), None);
    }
}
