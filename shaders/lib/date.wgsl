// The calendar: fields of a day number (days since 1970-01-01) and days from fields, in the
// proleptic Gregorian calendar, by counting from 0000-03-01 so that the leap day comes last.
// Algorithm: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
// Day numbers lie within the years -262143 to 262142, as `lower` has made sure.

struct Civil {
    year: i32,
    month: i32,
    day: i32,
}

fn floor_div_i32(a: i32, b: i32) -> i32 {
    let q = a / b;
    return select(q, q - 1, a - q * b < 0);
}

fn date_civil(days: u32) -> Civil {
    let shifted = bitcast<i32>(days) + 719468;
    let era = floor_div_i32(shifted, 146097);
    let of_era = shifted - era * 146097;
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * index + 2) / 5 + 1;
    let month = select(index - 9, index + 3, index < 10);
    return Civil(year + era * 400 + select(0, 1, month <= 2), month, day);
}

fn date_days(date: Civil) -> i32 {
    let year = date.year - select(0, 1, date.month <= 2);
    let era = floor_div_i32(year, 400);
    let of_era = year - era * 400;
    let index = select(date.month + 9, date.month - 3, date.month > 2);
    let of_year = (153 * index + 2) / 5 + date.day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

fn date_year(days: u32) -> u32 { return bitcast<u32>(date_civil(days).year); }
fn date_quarter(days: u32) -> u32 { return bitcast<u32>((date_civil(days).month + 2) / 3); }
fn date_month(days: u32) -> u32 { return bitcast<u32>(date_civil(days).month); }
fn date_day(days: u32) -> u32 { return bitcast<u32>(date_civil(days).day); }

fn date_trunc_year(days: u32) -> u32 {
    return bitcast<u32>(date_days(Civil(date_civil(days).year, 1, 1)));
}

fn date_day_of_year(days: u32) -> u32 { return days - date_trunc_year(days) + 1u; }

// Monday is 0; 1970-01-01 was a Thursday.
fn date_weekday(days: u32) -> u32 {
    let shifted = bitcast<i32>(days) + 3;
    return bitcast<u32>(shifted - floor_div_i32(shifted, 7) * 7);
}

// The Thursday of the ISO week that a day lies in: its year is the week's year.
fn date_thursday(days: u32) -> u32 { return days - date_weekday(days) + 3u; }

fn date_iso_week(days: u32) -> u32 {
    let thursday = date_thursday(days);
    return (thursday - date_trunc_year(thursday)) / 7u + 1u;
}

fn date_iso_year(days: u32) -> u32 { return date_year(date_thursday(days)); }

fn date_trunc_quarter(days: u32) -> u32 {
    let date = date_civil(days);
    return bitcast<u32>(date_days(Civil(date.year, (date.month - 1) / 3 * 3 + 1, 1)));
}

fn date_trunc_month(days: u32) -> u32 {
    let date = date_civil(days);
    return bitcast<u32>(date_days(Civil(date.year, date.month, 1)));
}

fn date_trunc_week(days: u32) -> u32 { return days - date_weekday(days); }

fn date_add_months(days: u32, months: u32) -> u32 {
    let date = date_civil(days);
    let total = date.year * 12 + date.month - 1 + bitcast<i32>(months);
    let year = floor_div_i32(total, 12);
    let month = total - year * 12 + 1;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let short = month == 4 || month == 6 || month == 9 || month == 11;
    let last = select(select(31, 30, short), select(28, 29, leap), month == 2);
    return bitcast<u32>(date_days(Civil(year, month, min(date.day, last))));
}
