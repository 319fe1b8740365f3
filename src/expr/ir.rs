//! The expression language of the device: small, typed, without side effects.
//!
//! One tree gives both the WGSL text (`wgsl.rs`) and the value the CPU twin computes (`eval.rs`).
//! Values are bit patterns: the twin holds each in the low bits of a `u128`, WGSL in a `bool`
//! (`B1`), a `u32` (32 bits), a `vec2<u32>` (64 bits, low word first) or a `vec4<u32>` (128 bits).

use std::sync::Arc;

/// How a value is held on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rep {
    /// A boolean; WGSL `bool`.
    B1,
    /// Signed 32 bits: Int8..Int32, Date32, Time32.
    I32,
    /// Unsigned 32 bits: UInt8..UInt32, and the code of a string (0 is NULL).
    U32,
    /// IEEE binary32, as bits.
    F32,
    /// Signed 64 bits: Int64, Timestamp, Date64, Time64, Duration.
    I64,
    U64,
    /// IEEE binary64, as bits.
    F64,
    /// Signed 128 bits: decimals.
    I128,
}

impl Rep {
    /// Words of 32 bits that a value takes in memory (a boolean takes one in tables and keys).
    pub const fn words(self) -> usize {
        match self {
            Rep::B1 | Rep::I32 | Rep::U32 | Rep::F32 => 1,
            Rep::I64 | Rep::U64 | Rep::F64 => 2,
            Rep::I128 => 4,
        }
    }

    /// The WGSL type that holds it.
    pub const fn wgsl(self) -> &'static str {
        match self {
            Rep::B1 => "bool",
            Rep::I32 | Rep::U32 | Rep::F32 => "u32",
            Rep::I64 | Rep::U64 | Rep::F64 => "vec2<u32>",
            Rep::I128 => "vec4<u32>",
        }
    }
}

/// Why a row raises an error; the code is what a kernel ORs into the status word, as `1 << code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Fault {
    DivideByZero = 0,
    ArithmeticOverflow = 1,
    /// A value does not fit the type it is cast to.
    CastOverflow = 2,
    /// An expression evaluated per distinct string failed for this string.
    Lookup = 3,
}

/// A strict primitive: NULL if any argument is NULL, otherwise a pure function of the bits.
pub struct Prim {
    /// Name of the WGSL function, and in explanations.
    pub name: &'static str,
    pub args: &'static [Rep],
    pub result: Rep,
    /// The twin of the WGSL function. Unused high bits of arguments and result are zero.
    pub eval: fn(&[u128]) -> u128,
    pub fails: Option<Fails>,
}

/// Name of a WGSL function `(args) -> bool` that is true where the row raises, its twin, and what
/// it raises.
pub type Fails = (&'static str, fn(&[u128]) -> bool, Fault);

impl std::fmt::Debug for Prim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Prim {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A constant of the query, neither NULL nor boolean.
///
/// It is told by where the query has it and not by its value, so that no text depends on which
/// constants happen to be equal: clones are one parameter, two constants of one value are two.
#[derive(Debug, Clone)]
pub struct Parameter(Arc<u128>);

impl Parameter {
    /// A parameter of its own.
    pub fn new(bits: u128) -> Self {
        Self(Arc::new(bits))
    }

    /// The value's bits.
    pub fn bits(&self) -> u128 {
        *self.0
    }
}

impl PartialEq for Parameter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Parameter {}

impl std::hash::Hash for Parameter {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// An expression over the inputs of a fragment.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: Kind,
    pub rep: Rep,
    /// False when the value can be proved never NULL.
    pub nullable: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Input column of the fragment, by its number there.
    Input(usize),
    /// Part of what the expression means, and of its text; `None` is NULL.
    Literal(Option<u128>),
    /// A constant of the query, which is no part of the text.
    Parameter(Parameter),
    Call(&'static Prim, Vec<Expr>),
    /// Three-valued logic; the right side raises only where the left one is not false (not true).
    And(Arc<Expr>, Arc<Expr>),
    Or(Arc<Expr>, Arc<Expr>),
    Not(Arc<Expr>),
    IsNull(Arc<Expr>),
    /// First branch whose condition is true; conditions and values raise only where reached.
    Case(Vec<(Expr, Expr)>, Option<Arc<Expr>>),
    /// Entry of lookup table `table` for a string's code; see `Lookup`.
    Lookup {
        table: usize,
        code: Arc<Expr>,
    },
}

impl Expr {
    pub fn input(index: usize, rep: Rep, nullable: bool) -> Self {
        Self { kind: Kind::Input(index), rep, nullable }
    }

    pub fn literal(bits: Option<u128>, rep: Rep) -> Self {
        Self { kind: Kind::Literal(bits), rep, nullable: bits.is_none() }
    }

    /// A constant of the query, as a parameter of its own.
    pub fn parameter(bits: u128, rep: Rep) -> Self {
        Self { kind: Kind::Parameter(Parameter::new(bits)), rep, nullable: false }
    }

    /// A strict call; nullable if any argument is.
    pub fn call(prim: &'static Prim, args: Vec<Expr>) -> Self {
        let nullable = args.iter().any(|arg| arg.nullable);
        Self { kind: Kind::Call(prim, args), rep: prim.result, nullable }
    }

    pub fn is_null(self) -> Self {
        Self { kind: Kind::IsNull(Arc::new(self)), rep: Rep::B1, nullable: false }
    }

    pub fn and(self, right: Expr) -> Self {
        let nullable = self.nullable || right.nullable;
        Self { kind: Kind::And(Arc::new(self), Arc::new(right)), rep: Rep::B1, nullable }
    }

    pub fn or(self, right: Expr) -> Self {
        let nullable = self.nullable || right.nullable;
        Self { kind: Kind::Or(Arc::new(self), Arc::new(right)), rep: Rep::B1, nullable }
    }

    /// True if the expression has more nodes than this.
    pub fn has_over(&self, most: usize) -> bool {
        let mut nodes = 0;
        self.walk(&mut |_| nodes += 1);
        nodes > most
    }

    /// Calls `visit` for this expression and everything below it.
    pub fn walk(&self, visit: &mut dyn FnMut(&Expr)) {
        visit(self);
        match &self.kind {
            Kind::Input(_) | Kind::Literal(_) | Kind::Parameter(_) => {}
            Kind::Call(_, args) => args.iter().for_each(|arg| arg.walk(visit)),
            Kind::And(left, right) | Kind::Or(left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            Kind::Not(inner) | Kind::IsNull(inner) | Kind::Lookup { code: inner, .. } => {
                inner.walk(visit)
            }
            Kind::Case(branches, otherwise) => {
                for (when, then) in branches {
                    when.walk(visit);
                    then.walk(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.walk(visit);
                }
            }
        }
    }
}

impl std::ops::Not for Expr {
    type Output = Self;

    fn not(self) -> Self {
        let nullable = self.nullable;
        Self { kind: Kind::Not(Arc::new(self)), rep: Rep::B1, nullable }
    }
}
