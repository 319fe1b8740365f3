//! Names that a wrong one may have been.

/// Names that are told where one was not found, at most.
const NEAREST: usize = 3;

/// Names that are told where none is near, at most.
const SOME: usize = 8;

/// What to try for a name that was not found: `; did you mean 'a' or 'b'?`, or where none is near
/// some of those there are.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.dedup();
    let near = nearest(name, &known);
    if let Some((last, others)) = near.split_last() {
        let others = others.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let or = if others.is_empty() { "" } else { " or " };
        return format!("; did you mean {others}{or}{}?", quoted(last));
    }
    if known.is_empty() {
        return String::new();
    }
    let shown = known.iter().take(SOME).copied().collect::<Vec<_>>().join(", ");
    match known.len().saturating_sub(SOME) {
        0 => format!("; available: {shown}"),
        more => format!("; available: {shown} and {more} more"),
    }
}

fn quoted(name: &str) -> String {
    match name.starts_with('"') {
        true => name.to_string(),
        false => format!("'{name}'"),
    }
}

/// The names that a wrong one may have been, the nearest first: by letters, in any case.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    let mut near: Vec<(usize, &str)> = Vec::new();
    for &other in known {
        let lower = other.trim_matches('"').to_lowercase();
        let distance = strsim::damerau_levenshtein(&name, &lower);
        let part = length >= 3 && (lower.contains(&name) || name.contains(&lower));
        if distance <= (length / 3).max(1) || (part && lower.len() >= 3) {
            near.push((distance, other));
        }
    }
    near.sort();
    near.dedup();
    near.into_iter().take(NEAREST).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first_and_few() {
        let known = ["l_orderkey", "l_partkey", "l_suppkey", "l_quantity", "Price", "\"Unit\""];
        assert_eq!(did_you_mean("l_oderkey", known), "; did you mean 'l_orderkey'?");
        assert_eq!(did_you_mean("unit", known), "; did you mean \"Unit\"?");
        assert_eq!(did_you_mean("key", known).matches("key").count(), 3);
        let far = "; available: l_orderkey, l_partkey, l_suppkey, l_quantity, Price, \"Unit\"";
        assert_eq!(did_you_mean("zzz", known), far);
        assert_eq!(did_you_mean("zzz", []), "");
        let many: Vec<String> = (0..20).map(|number| format!("column_{number}")).collect();
        let told = did_you_mean("zzz", many.iter().map(String::as_str));
        assert!(told.ends_with("column_7 and 12 more"), "{told}");
    }
}
