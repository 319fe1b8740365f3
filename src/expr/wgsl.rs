//! WGSL text of expressions: one `let` per node, common subexpressions shared. Never control flow
//! but the tests that raise faults.
//!
//! A value of NULL holds any bits; only its validity counts. Everything is computed whether or not
//! a branch is taken, for primitives are total; faults are raised only under the branch's guard.

use std::collections::{HashMap, HashSet};

use crate::expr::ir::{Expr, Fault, Kind, Parameter, Prim, Rep};
use crate::expr::parameters::Parameters;

#[cfg(test)]
mod tests;

/// A value in generated text: the name (or constant) that holds it and the one that says whether
/// it is not NULL (`"true"` if it never is).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub value: String,
    pub valid: String,
}

/// Writes statements that compute expressions.
///
/// The kernel around them provides `fn raise(code: u32)`, `fn parameter(word: u32) -> u32` for the
/// words of its parameters, and, where lookups occur,
/// `fn lookup_word(table: u32, code: u32, word: u32) -> u32`: an entry is the value's words, then
/// one word of flags (bit 0: not NULL, bit 1: the evaluation failed).
pub struct Emitter<'a> {
    /// The statements so far, each with its line end and without indentation.
    pub text: String,
    prefix: &'a str,
    parameters: &'a Parameters,
    input: &'a mut dyn FnMut(usize, &mut String) -> Text,
    next: usize,
    inputs: HashMap<usize, Text>,
    names: HashMap<String, String>,
    raised: HashSet<String>,
}

const TRUE: &str = "true";
const FALSE: &str = "false";

impl<'a> Emitter<'a> {
    /// `input(i, text)` yields the names for input `i`, appending the statements that load it; it
    /// is asked once for each input. `prefix` keeps the names of several emitters apart.
    pub fn new(
        prefix: &'a str,
        parameters: &'a Parameters,
        input: &'a mut dyn FnMut(usize, &mut String) -> Text,
    ) -> Self {
        Self {
            text: String::new(),
            prefix,
            parameters,
            input,
            next: 0,
            inputs: HashMap::new(),
            names: HashMap::new(),
            raised: HashSet::new(),
        }
    }

    /// Appends statements that compute `expr`; rows for which `guard` (a WGSL expression of type
    /// bool) is false never raise.
    pub fn emit(&mut self, expr: &Expr, guard: &str) -> Text {
        match &expr.kind {
            Kind::Input(index) => self.load(*index, expr.nullable),
            Kind::Literal(Some(bits)) => {
                Text { value: constant(*bits, expr.rep), valid: TRUE.into() }
            }
            Kind::Parameter(parameter) => {
                Text { value: self.parameter(parameter, expr.rep), valid: TRUE.into() }
            }
            Kind::Literal(None) => Text { value: constant(0, expr.rep), valid: FALSE.into() },
            Kind::Call(prim, args) => self.call(prim, args, guard),
            Kind::And(left, right) => self.and(left, right, guard),
            Kind::Or(left, right) => self.or(left, right, guard),
            Kind::Not(inner) => {
                let inner = self.emit(inner, guard);
                Text { value: self.name(Rep::B1, not(&inner.value)), valid: inner.valid }
            }
            Kind::IsNull(inner) => {
                let inner = self.emit(inner, guard);
                Text { value: self.name(Rep::B1, not(&inner.valid)), valid: TRUE.into() }
            }
            Kind::Case(branches, otherwise) => {
                self.case(expr.rep, branches, otherwise.as_deref(), guard)
            }
            Kind::Lookup { table, code } => self.lookup(*table, code, expr.rep, guard),
        }
    }

    fn load(&mut self, index: usize, nullable: bool) -> Text {
        if !self.inputs.contains_key(&index) {
            let text = (self.input)(index, &mut self.text);
            self.inputs.insert(index, text);
        }
        let mut text = self.inputs[&index].clone();
        if !nullable {
            text.valid = TRUE.into();
        }
        text
    }

    /// The name of a value, given its text; a text that occurred before keeps its name.
    fn name(&mut self, rep: Rep, text: String) -> String {
        if text == TRUE || text == FALSE || is_name(&text) {
            return text;
        }
        let key = format!("{}:{text}", rep.wgsl());
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let name = format!("{}v{}", self.prefix, self.next);
        self.next += 1;
        self.text.push_str(&format!("let {name} = {text};\n"));
        self.names.insert(key, name.clone());
        name
    }

    /// The name of a parameter's value. One that the kernel does not have is no parameter there.
    fn parameter(&mut self, parameter: &Parameter, rep: Rep) -> String {
        let Some(at) = self.parameters.place(parameter) else {
            return constant(parameter.bits(), rep);
        };
        let words: Vec<_> = (at..at + rep.words()).map(|at| format!("parameter({at}u)")).collect();
        self.name(rep, vector(rep, &words))
    }

    fn raise(&mut self, conditions: &[&str], fault: Fault) {
        let condition = all(conditions);
        if condition == FALSE {
            return;
        }
        let statement = format!("if ({condition}) {{ raise({}u); }}\n", fault as u32);
        if self.raised.insert(statement.clone()) {
            self.text.push_str(&statement);
        }
    }

    fn call(&mut self, prim: &Prim, args: &[Expr], guard: &str) -> Text {
        let args: Vec<Text> = args.iter().map(|arg| self.emit(arg, guard)).collect();
        let values: Vec<&str> = args.iter().map(|arg| arg.value.as_str()).collect();
        let valids: Vec<&str> = args.iter().map(|arg| arg.valid.as_str()).collect();
        let list = values.join(", ");
        let valid = self.name(Rep::B1, all(&valids));
        let value = self.name(prim.result, format!("{}({list})", prim.name));
        if let Some((test, _, fault)) = prim.fails {
            self.raise(&[guard, &valid, &format!("{test}({list})")], fault);
        }
        Text { value, valid }
    }

    /// A guard for what runs only where `condition` holds too; not needed where nothing raises.
    fn narrow(&mut self, guard: &str, condition: String, raises: bool) -> String {
        if raises { self.name(Rep::B1, all(&[guard, &condition])) } else { guard.into() }
    }

    fn and(&mut self, left: &Expr, right: &Expr, guard: &str) -> Text {
        let l = self.emit(left, guard);
        let not_false = any(&[&l.value, &not(&l.valid)]);
        let inner = self.narrow(guard, not_false, raises(right));
        let r = self.emit(right, &inner);
        let value = self.name(Rep::B1, all(&[&l.value, &r.value]));
        // Known where both are, or where one is known to be false.
        let valid = any(&[
            &all(&[&l.valid, &r.valid]),
            &all(&[&l.valid, &not(&l.value)]),
            &all(&[&r.valid, &not(&r.value)]),
        ]);
        let valid = if l.valid == TRUE && r.valid == TRUE { TRUE.into() } else { valid };
        Text { value, valid: self.name(Rep::B1, valid) }
    }

    fn or(&mut self, left: &Expr, right: &Expr, guard: &str) -> Text {
        let l = self.emit(left, guard);
        let not_true = any(&[&not(&l.value), &not(&l.valid)]);
        let inner = self.narrow(guard, not_true, raises(right));
        let r = self.emit(right, &inner);
        let (left_true, right_true) = (all(&[&l.valid, &l.value]), all(&[&r.valid, &r.value]));
        let value = self.name(Rep::B1, any(&[&left_true, &right_true]));
        // Known where both are, or where one is known to be true.
        let valid = any(&[&all(&[&l.valid, &r.valid]), &value]);
        let valid = if l.valid == TRUE && r.valid == TRUE { TRUE.into() } else { valid };
        Text { value, valid: self.name(Rep::B1, valid) }
    }

    fn case(
        &mut self,
        rep: Rep,
        branches: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        guard: &str,
    ) -> Text {
        let mut guard = guard.to_owned();
        let mut taken = Vec::new();
        for (index, (when, then)) in branches.iter().enumerate() {
            let when = self.emit(when, &guard);
            let hit = self.name(Rep::B1, all(&[&when.valid, &when.value]));
            let inner = self.narrow(&guard, hit.clone(), raises(then));
            let then = self.emit(then, &inner);
            let rest = branches[index + 1..].iter().flat_map(|(when, then)| [when, then]);
            let rest_raises = rest.chain(otherwise).any(raises);
            guard = self.narrow(&guard, not(&hit), rest_raises);
            taken.push((hit, then));
        }
        let mut result = match otherwise {
            Some(otherwise) => self.emit(otherwise, &guard),
            None => Text { value: constant(0, rep), valid: FALSE.into() },
        };
        for (hit, then) in taken.into_iter().rev() {
            // A NULL's bits do not matter, so the other value serves for both.
            let value = match (then.valid.as_str(), result.valid.as_str()) {
                (_, FALSE) => then.value,
                (FALSE, _) => result.value,
                _ => self.name(rep, select(&result.value, &then.value, &hit)),
            };
            let valid = self.name(Rep::B1, select(&result.valid, &then.valid, &hit));
            result = Text { value, valid };
        }
        result
    }

    fn lookup(&mut self, table: usize, code: &Expr, rep: Rep, guard: &str) -> Text {
        let code = self.emit(code, guard);
        let code = self.name(Rep::U32, select("0u", &code.value, &code.valid));
        let word = |word: usize| format!("lookup_word({table}u, {code}, {word}u)");
        let words = rep.words();
        let loads: Vec<String> = (0..words).map(word).collect();
        let flags = self.name(Rep::U32, word(words));
        let value = match rep {
            Rep::B1 => format!("{} != 0u", loads[0]),
            _ => vector(rep, &loads),
        };
        let value = self.name(rep, value);
        self.raise(&[guard, &format!("({flags} & 2u) != 0u")], Fault::Lookup);
        let valid = self.name(Rep::B1, format!("({flags} & 1u) != 0u"));
        Text { value, valid }
    }
}

/// True if evaluating `expr` can raise a fault.
pub fn raises(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |node| {
        found |= match &node.kind {
            Kind::Call(prim, _) => prim.fails.is_some(),
            Kind::Lookup { .. } => true,
            _ => false,
        };
    });
    found
}

/// A value of its words, low first; not a boolean.
fn vector(rep: Rep, words: &[String]) -> String {
    match words {
        [word] => word.clone(),
        _ => format!("{}({})", rep.wgsl(), words.join(", ")),
    }
}

/// The WGSL constant with these bits.
pub fn constant(bits: u128, rep: Rep) -> String {
    let word = |index: usize| {
        let word = (bits >> (32 * index)) as u32;
        if word < 1 << 16 { format!("{word}u") } else { format!("0x{word:08x}u") }
    };
    match rep {
        Rep::B1 => (bits != 0).to_string(),
        _ => vector(rep, &(0..rep.words()).map(word).collect::<Vec<_>>()),
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit())
}

fn not(text: &str) -> String {
    match text {
        TRUE => FALSE.into(),
        FALSE => TRUE.into(),
        _ if is_name(text) => format!("!{text}"),
        _ => format!("!({text})"),
    }
}

fn atom(text: &str) -> String {
    let plain = is_name(text) || text.strip_prefix('!').is_some_and(is_name) || is_call(text);
    if plain { text.into() } else { format!("({text})") }
}

/// True for one call (or parenthesis) and nothing after it.
fn is_call(text: &str) -> bool {
    let Some((name, rest)) = text.split_once('(') else { return false };
    let mut depth = 1;
    let closes = rest.char_indices().find(|(_, char)| {
        depth += i32::from(*char == '(') - i32::from(*char == ')');
        depth == 0
    });
    (name.is_empty() || is_name(name)) && closes.is_some_and(|(at, _)| at + 1 == rest.len())
}

/// The conjunction of conditions, each once, constants folded.
fn all(parts: &[&str]) -> String {
    fold(parts, TRUE, FALSE, " && ")
}

fn any(parts: &[&str]) -> String {
    fold(parts, FALSE, TRUE, " || ")
}

fn fold(parts: &[&str], neutral: &str, absorbing: &str, sign: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in parts {
        if *part == absorbing {
            return absorbing.into();
        }
        if *part != neutral && !kept.contains(part) {
            kept.push(part);
        }
    }
    match kept.as_slice() {
        [] => neutral.into(),
        [one] => (*one).into(),
        _ => kept.iter().map(|part| atom(part)).collect::<Vec<_>>().join(sign),
    }
}

fn select(otherwise: &str, then: &str, condition: &str) -> String {
    if condition == TRUE || otherwise == then {
        return then.into();
    }
    match (otherwise, then) {
        _ if condition == FALSE => otherwise.into(),
        (FALSE, TRUE) => condition.into(),
        (TRUE, FALSE) => not(condition),
        (FALSE, _) => all(&[condition, then]),
        (TRUE, _) => any(&[&not(condition), then]),
        (_, TRUE) => any(&[condition, otherwise]),
        (_, FALSE) => all(&[&not(condition), otherwise]),
        _ => format!("select({otherwise}, {then}, {condition})"),
    }
}
