//! The calendar: fields of a day number (days since 1970-01-01) and days from fields, in the
//! proleptic Gregorian calendar, by counting from 0000-03-01 so that the leap day comes last.
//! Algorithm: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use super::bits::*;
use crate::expr::ir::{Prim, Rep};

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;

/// Year, month (1..=12) and day (1..=31) of a day number.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH;
    let (era, of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * index + 2) / 5 + 1;
    let month = if index < 10 { index + 3 } else { index - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a date.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let index = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * index + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap(year)),
        _ => 31,
    }
}

fn of(bits: u128) -> i64 {
    i64::from(s32(bits))
}

fn day_bits(days: i64) -> u128 {
    b32(days as i32)
}

/// Monday is 0; 1970-01-01 was a Thursday.
fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

/// The Thursday of the ISO week that a day lies in: its year is the week's year.
fn thursday(days: i64) -> i64 {
    days - weekday(days) + 3
}

fn add_months(date: i64, months: i64) -> i64 {
    let (year, month, day) = civil(date);
    let total = year * 12 + month - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    days(year, month, day.min(month_days(year, month)))
}

prims! { DATE_PRIMS:
    YEAR = "date_year"(I32) -> I32: |a| day_bits(civil(of(a[0])).0);
    QUARTER = "date_quarter"(I32) -> I32: |a| day_bits((civil(of(a[0])).1 + 2) / 3);
    MONTH = "date_month"(I32) -> I32: |a| day_bits(civil(of(a[0])).1);
    DAY = "date_day"(I32) -> I32: |a| day_bits(civil(of(a[0])).2);
    /// From 1, the first of January.
    DAY_OF_YEAR = "date_day_of_year"(I32) -> I32: |a| {
        day_bits(of(a[0]) - days(civil(of(a[0])).0, 1, 1) + 1)
    };
    /// From 0, Monday.
    WEEKDAY = "date_weekday"(I32) -> I32: |a| day_bits(weekday(of(a[0])));
    /// The ISO 8601 week, from 1.
    ISO_WEEK = "date_iso_week"(I32) -> I32: |a| {
        let thursday = thursday(of(a[0]));
        day_bits((thursday - days(civil(thursday).0, 1, 1)) / 7 + 1)
    };
    ISO_YEAR = "date_iso_year"(I32) -> I32: |a| day_bits(civil(thursday(of(a[0]))).0);
    /// The first day of the year, quarter, month, week (Monday).
    TRUNC_YEAR = "date_trunc_year"(I32) -> I32: |a| day_bits(days(civil(of(a[0])).0, 1, 1));
    TRUNC_QUARTER = "date_trunc_quarter"(I32) -> I32: |a| {
        let (year, month, _) = civil(of(a[0]));
        day_bits(days(year, (month - 1) / 3 * 3 + 1, 1))
    };
    TRUNC_MONTH = "date_trunc_month"(I32) -> I32: |a| {
        let (year, month, _) = civil(of(a[0]));
        day_bits(days(year, month, 1))
    };
    TRUNC_WEEK = "date_trunc_week"(I32) -> I32: |a| {
        day_bits(of(a[0]) - weekday(of(a[0])))
    };
    /// The same day so many months on, or the last of that month if it has no such day.
    ADD_MONTHS = "date_add_months"(I32, I32) -> I32: |a| day_bits(add_months(of(a[0]), of(a[1])));
}
