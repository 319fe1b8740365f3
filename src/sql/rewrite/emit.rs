//! `EMIT ..` behind a query, cut off before the grammar reads it, which would take the word for
//! the alias of a table.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Result;
use crate::sql::token::{is_word, place};
use crate::stream::time::emit::Emit;

const FORMS: &str = "EMIT AFTER WINDOW CLOSE [WITH DELAY INTERVAL '..'], EMIT ON UPDATE, EMIT \
                     PERIODIC INTERVAL '..' or EMIT CHANGES";

/// The tokens without a trailing `EMIT ..`, and what it says.
///
/// Errors: an emission of another form. A column or a table of this name is none.
pub fn cut(mut tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Option<Emit>)> {
    let mut depth = 0_i32;
    for at in 0..tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            // Behind `SELECT`, a comma or the like it is a name.
            word if depth == 0 && at > 0 && is_word(word, "EMIT") => {
                let begins = ["ON", "AFTER", "PERIODIC", "CHANGES", "FINAL", "EVERY", "TIMEOUT"];
                let next = tokens.get(at + 1).map(|next| &next.token);
                let clause = next.is_some_and(|next| begins.iter().any(|w| is_word(next, w)));
                // `JOIN emit ON ..` names a table.
                let table = ["FROM", "JOIN"].iter().any(|w| is_word(&tokens[at - 1].token, w));
                if !clause || table {
                    continue;
                }
                let emit = read(&tokens[at + 1..])
                    .map_err(|message| place(&message, tokens[at].span.start))?;
                tokens.truncate(at);
                return Ok((tokens, Some(emit)));
            }
            _ => {}
        }
    }
    Ok((tokens, None))
}

fn read(tokens: &[TokenWithSpan]) -> Result<Emit, String> {
    let words = |words: &str| {
        let mut count = 0;
        let mut found = words.split(' ').inspect(|_| count += 1).zip(tokens);
        let all = found.all(|(word, token)| is_word(&token.token, word));
        (all && count <= tokens.len()).then(|| &tokens[count..])
    };
    if let Some([]) = words("ON UPDATE") {
        return Ok(Emit::Update);
    }
    if let Some([]) = words("CHANGES") {
        return Ok(Emit::Changes);
    }
    if let Some(rest) = words("PERIODIC") {
        let every_us = microseconds(rest)?;
        return match every_us {
            1.. => Ok(Emit::Periodic { every_us }),
            _ => Err("EMIT PERIODIC: the interval is longer than nothing".to_string()),
        };
    }
    match words("AFTER WINDOW CLOSE").or_else(|| words("ON WINDOW CLOSE")) {
        Some([]) => Ok(Emit::Close { delay_us: 0 }),
        Some([with, delay, rest @ ..])
            if is_word(&with.token, "WITH") && is_word(&delay.token, "DELAY") =>
        {
            Ok(Emit::Close { delay_us: microseconds(rest)? })
        }
        _ => Err(format!("there is no such EMIT; there are {FORMS}")),
    }
}

/// `INTERVAL '5' SECOND` or `INTERVAL '5 seconds'`, not negative.
fn microseconds(tokens: &[TokenWithSpan]) -> Result<i64, String> {
    let wrong = || format!("the interval is written INTERVAL '5' SECOND; there are {FORMS}");
    let (value, unit) = match tokens {
        [interval, value] if is_word(&interval.token, "INTERVAL") => (value, None),
        [interval, value, unit] if is_word(&interval.token, "INTERVAL") => (value, Some(unit)),
        _ => return Err(wrong()),
    };
    let Token::SingleQuotedString(value) = &value.token else { return Err(wrong()) };
    let text = match unit.map(|unit| &unit.token) {
        None => value.clone(),
        Some(Token::Word(unit)) => format!("{value} {}", unit.value),
        Some(_) => return Err(wrong()),
    };
    let interval = parse_interval_month_day_nano(&text).map_err(|_| wrong())?;
    let days_us = i64::from(interval.days) * 86_400_000_000;
    let us = days_us.checked_add(interval.nanoseconds / 1_000);
    match us.filter(|us| *us >= 0 && interval.months == 0) {
        Some(us) => Ok(us),
        None => Err("the interval of an EMIT is days or less, and not negative".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::script::split;
    use crate::stream::time::emit::Emit;

    fn cut(text: &str) -> (String, Option<Emit>) {
        let chunk = split(text).unwrap().remove(0);
        let words: Vec<_> = chunk.tokens.iter().map(|t| t.token.to_string()).collect();
        (words.join(" "), chunk.emit)
    }

    fn error(text: &str) -> String {
        split(text).unwrap_err().to_string()
    }

    #[test]
    fn emissions_are_taken_off() {
        let emit = |text: &str| {
            let (rest, emit) = cut(&format!("SELECT a FROM t EMIT {text}"));
            assert_eq!(rest, "SELECT a FROM t");
            emit.unwrap()
        };
        let close = |delay_us| Emit::Close { delay_us };
        assert_eq!(emit("ON WINDOW CLOSE"), close(0));
        assert_eq!(emit("after window close"), close(0));
        assert_eq!(emit("AFTER WINDOW CLOSE WITH DELAY INTERVAL '2' SECOND"), close(2_000_000));
        assert_eq!(emit("ON UPDATE"), Emit::Update);
        assert_eq!(emit("Changes"), Emit::Changes);
        assert_eq!(
            emit("PERIODIC INTERVAL '1 minute 5 seconds'"),
            Emit::Periodic { every_us: 65_000_000 }
        );
    }

    #[test]
    fn a_name_is_no_emission() {
        for text in ["SELECT emit FROM t", "SELECT 1 FROM emit", "SELECT a FROM ( emit ) , t emit"]
        {
            assert_eq!(cut(text), (text.to_string(), None));
        }
        let join = "SELECT 1 FROM t JOIN emit ON a = b";
        assert_eq!(cut(join), (join.to_string(), None));
    }

    #[test]
    fn other_forms_are_refused_where_they_stand() {
        let text = error("SELECT a\nFROM t EMIT CHANGES ONLY");
        assert!(text.starts_with("line 2, column 8: there is no such EMIT"), "{text}");
        let text = error("SELECT a FROM t EMIT PERIODIC 5");
        assert!(text.contains("INTERVAL '5' SECOND"), "{text}");
        let text = error("SELECT a FROM t EMIT PERIODIC INTERVAL '0' SECOND");
        assert!(text.contains("longer than nothing"), "{text}");
        let text = error("SELECT a FROM t EMIT AFTER WINDOW CLOSE WITH DELAY INTERVAL '1' MONTH");
        assert!(text.contains("days or less"), "{text}");
    }
}
