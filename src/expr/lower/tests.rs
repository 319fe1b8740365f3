//! Lowered expressions against DataFusion, kind by kind.

use crate::expr::tests::{Bench, columns};

#[test]
fn tpch_expressions() {
    let bench = Bench::new(60, 1);
    bench.check_all(&[
        "d15 * (1 - d15b)",
        "d15 * (1 - d15b) * (1 + n_d15)",
        "date <= date '1998-09-02'",
        "date >= date '1994-01-01' and date < date '1995-01-01'
            and d15 between 0.05 and 0.07 and d15b < 24",
        "case when s like 'PROMO%' then d15 * (1 - d15b) else 0 end",
        "s in ('MAIL', 'SHIP') and date < dateb and dateb > date '1994-01-01'",
        "case when s = '1-URGENT' or s = '2-HIGH' then 1 else 0 end",
        "case when s <> '1-URGENT' and s <> '2-HIGH' then 1 else 0 end",
        "extract(year from date)",
        "d15 * (1 - d15b) - n_d15 * i32",
    ]);
}

#[test]
fn comparisons() {
    let bench = Bench::new(150, 2);
    let columns = columns();
    for field in &columns {
        let name = field.name().as_str();
        let twin = columns.iter().map(|other| other.name().as_str());
        let pair = twin.clone().find(|other| *other == format!("{name}b")).unwrap_or(name);
        for op in ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"] {
            bench.check(&format!("{name} {op} {pair}"));
        }
        bench.check(&format!("{name} is null"));
        bench.check(&format!("{name} is not null"));
    }
    bench.check_all(&["d15 < d38", "n_i64 > i32", "u8 < i8", "tms < tus", "date < ts", "d7 < 5"]);
}

#[test]
fn logic() {
    let bench = Bench::new(150, 3);
    bench.check_all(&[
        "b and b2",
        "b or b2",
        "not b",
        "b and (i32 / i32b > 0)",
        "b or (i32 / i32b > 0)",
        "b is true",
        "b is not true",
        "b is unknown",
        "b = b2",
        "i32 in (1, 2, 3, 7)",
        "i32 not in (1, 2, null)",
        "i64 in (i64b, 3, 5)",
        "f64 in (0.0, 'NaN'::double, 0.5, 2.5)",
        "d15 in (0.01, -0.01, 99.9)",
        "case when b then i32 when b2 then i32b end",
        "case when i32 = 0 then 0 else 100 / i32 end",
        "case i32 when 1 then d15 when 2 then d15b else 0.5 end",
        "case s when 'MAIL' then i64 when 'SHIP' then i64b end",
        "case when i32 > 0 then true else b end",
        "coalesce(i32, i32b, 7)",
        "coalesce(i32, 100 / i32b)",
        "nullif(i32, 1)",
        "nvl(i64, 3)",
        "nvl2(i64, i32, 9)",
        "greatest(i64, i64b, 3)",
        "least(d15, d15b)",
        "greatest(f64, f64b)",
        "i32 between -1 and i32b",
    ]);
}

#[test]
fn integers() {
    let bench = Bench::new(250, 4);
    let pairs = [
        ("i8", "i8b"),
        ("i16", "i8"),
        ("i32", "i32b"),
        ("i64", "i64b"),
        ("u8", "u16"),
        ("u32", "u32"),
        ("u64", "u64b"),
        ("i64", "n_i64"),
    ];
    for (left, right) in pairs {
        for op in ["+", "-", "*", "/", "%", "&", "|", "#", "<<", ">>"] {
            let op = if op == "#" { "^" } else { op };
            bench.check_all(&[&format!("{left} {op} {right}")]);
        }
    }
    bench.check_all(&[
        "-i8",
        "-i16",
        "-i32",
        "-i64",
        "i64 / 7",
        "i64 % 7",
        "i64 / -1",
        "i32 / 10",
        "u64 / 3",
        "u64 % 10",
        "arrow_cast(i8, 'Int8') * i8",
        "abs(i8)",
        "abs(i32)",
        "abs(i64)",
        "abs(u16)",
    ]);
}

#[test]
fn decimals() {
    let bench = Bench::new(250, 5);
    for (left, right) in [
        ("d15", "d15b"),
        ("d15", "d38"),
        ("d38", "d38b"),
        ("d38b", "d15"),
        ("d15", "i64"),
        ("d7", "d7"),
        ("d16", "d16"),
        ("d7", "d16"),
        ("n_d15", "n_i64"),
    ] {
        for op in ["+", "-", "*", "/", "%", "<", "="] {
            bench.check_all(&[&format!("{left} {op} {right}")]);
        }
    }
    bench.check_all(&[
        "-d15",
        "-d38",
        "-d7",
        "abs(d15)",
        "abs(d38)",
        "trunc(d15)",
        "d15 / 3",
        "d38 % 7",
        "d16 * 2",
        "d15 * d15b * n_d15",
    ]);
}

#[test]
fn casts() {
    let bench = Bench::new(250, 6);
    let integers = ["tinyint", "smallint", "int", "bigint"];
    let unsigned = ["tinyint unsigned", "smallint unsigned", "int unsigned", "bigint unsigned"];
    let numbers = [
        "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "b", "d15", "d38", "d38b", "d7",
        "d16",
    ];
    for from in numbers {
        for to in integers.iter().chain(&unsigned) {
            bench.check_all(&[&format!("cast({from} as {to})")]);
            bench.check_all(&[&format!("try_cast({from} as {to})")]);
        }
        if from != "b" {
            for to in [
                "decimal(10, 2)",
                "decimal(38, 10)",
                "decimal(20, 0)",
                "decimal(5, 4)",
                "decimal(38, 38)",
            ] {
                bench.check(&format!("cast({from} as {to})"));
                bench.check(&format!("try_cast({from} as {to})"));
            }
        }
        if !from.starts_with('d') {
            bench.check_all(&[&format!("cast({from} as boolean)")]);
        }
    }
    bench.check_all(&[
        "cast(s as int) + 1",
        "try_cast(s as int)",
        "cast(dict as varchar)",
        "cast(s as varchar)",
    ]);
}

#[test]
fn floats() {
    let bench = Bench::new(400, 9);
    for (left, right) in [("f32", "f32b"), ("f64", "f64b"), ("f64", "f32"), ("f64", "i32")] {
        for op in ["+", "-", "*", "/", "=", "<", "is distinct from"] {
            bench.check_all(&[&format!("{left} {op} {right}")]);
        }
    }
    for column in ["f32", "f64"] {
        for function in ["abs", "floor", "ceil", "trunc", "round", "signum", "sqrt", "-"] {
            bench.check_all(&[&format!("{function}({column})")]);
        }
        for to in ["tinyint", "int", "bigint", "bigint unsigned", "smallint unsigned"] {
            bench.check_all(&[&format!("cast({column} as {to})")]);
            bench.check_all(&[&format!("try_cast({column} as {to})")]);
        }
        bench.check_all(&[
            &format!("round({column}, 2)"),
            &format!("round({column}, -1)"),
            &format!("cast({column} as boolean)"),
            &format!("cast({column} as decimal(20, 4))"),
            &format!("cast({column} as float)"),
            &format!("cast({column} as double)"),
            &format!("{column} in (0.0, 0.5, -1.5)"),
            &format!("case {column} when 0.0 then 1 when 0.5 then 2 end"),
            &format!("nullif({column}, 0.0)"),
        ]);
    }
    for column in ["i8", "i32", "i64", "u32", "u64", "b", "d15", "d38", "d38b", "d7", "d16"] {
        bench.check_all(&[&format!("cast({column} as double)")]);
        bench.check_all(&[&format!("cast({column} as float)")]);
    }
    bench.check_all(&["0.2 * d15", "f64 * d15b", "100.00 * d15 / d15b", "floor(d15)", "ceil(d15)"]);
    bench.check_all(&["floor(d38)", "ceil(d38)", "floor(d7)", "round(i32)", "ceil(i64)"]);
    for column in ["date", "ts", "tms", "tus", "tns"] {
        bench.check_all(&[&format!("date_part('epoch', {column})")]);
    }
}

#[test]
fn times() {
    let bench = Bench::new(250, 7);
    let parts = [
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "second",
        "millisecond",
        "microsecond",
        "nanosecond",
        "dow",
        "isodow",
        "doy",
        "quarter",
        "week",
        "isoyear",
    ];
    for column in ["date", "ts", "tms", "tus", "tns", "tutc"] {
        for part in parts {
            bench.check_all(&[&format!("date_part('{part}', {column})")]);
        }
        for unit in ["Second", "Millisecond", "Microsecond", "Nanosecond"] {
            bench.check_all(&[&format!("arrow_cast({column}, 'Timestamp({unit}, None)')")]);
        }
        bench.check_all(&[
            &format!("cast({column} as bigint)"),
            &format!("{column} + interval '3 days'"),
            &format!("{column} - interval '1 month'"),
            &format!("{column} + interval '1 year 2 days'"),
            &format!("interval '5 days' + {column}"),
        ]);
    }
    for column in ["ts", "tms", "tus", "tns"] {
        for part in ["second", "minute", "hour", "day", "week", "month", "quarter", "year"] {
            bench.check_all(&[&format!("date_trunc('{part}', {column})")]);
        }
        bench.check_all(&[
            &format!("date_bin(interval '10 seconds', {column})"),
            &format!("date_bin(interval '7 days', {column}, timestamp '2020-01-01T00:00:03')"),
            &format!("cast({column} as date)"),
            &format!("{column} + interval '90 seconds'"),
            &format!("{column} - {column}"),
            &format!("{column} < timestamp '2001-01-01T00:00:00'"),
        ]);
    }
    bench.check_all(&[
        "date - dateb",
        "tns - tnsb",
        "cast(i64 as date)",
        "cast(i32 as date)",
        "cast(date64 as date)",
    ]);
}

#[test]
fn strings() {
    let bench = Bench::new(60, 8);
    bench.check_all(&[
        "s like '%requests%'",
        "upper(s)",
        "substr(s, 1, 2)",
        "length(s)",
        "cast(s as int)",
        "s2 || 'x'",
        "dict = 'MAIL'",
        "dict in ('MAIL', 'SHIP')",
        "coalesce(s, 'none')",
        "case when s like 'M%' then 'm' else 'other' end",
        "s is null or i32 > 3",
        "length(s) + i32",
        "s is distinct from 'MAIL'",
        "cast(s as int) > 0 and b",
    ]);
    for (sql, words) in [
        ("s = s2", "strings are compared by code"),
        ("case when i32 > 0 then s else s2 end", "chooses between strings"),
        ("random() > i32", "volatile"),
        ("s || s2", "||"),
    ] {
        let reason = bench.declines(sql);
        assert!(reason.contains(words), "{sql}: {reason}");
    }
}
