//! Constants of a query that its kernels read as data: kernels of two queries that differ in
//! nothing else are the same text, which is compiled once.

use std::collections::HashMap;

use crate::expr::ir::{Expr, Kind, Parameter, Rep};

/// The parameters of a pipeline in the order of its expressions, one after another in words.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    places: HashMap<Parameter, usize>,
    reps: Vec<Rep>,
    words: Vec<u32>,
}

impl Parameters {
    /// All parameters of the expressions.
    pub fn of<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Self {
        let mut all = Self::default();
        for expr in exprs {
            expr.walk(&mut |node| {
                if let Kind::Parameter(parameter) = &node.kind {
                    all.add(parameter, node.rep);
                }
            });
        }
        all
    }

    fn add(&mut self, parameter: &Parameter, rep: Rep) {
        if self.places.contains_key(parameter) {
            return;
        }
        self.places.insert(parameter.clone(), self.words.len());
        self.reps.push(rep);
        let word = |word: usize| (parameter.bits() >> (32 * word)) as u32;
        self.words.extend((0..rep.words()).map(word));
    }

    /// Number of the parameter's first word; `None` where no expression has it.
    pub fn place(&self, parameter: &Parameter) -> Option<usize> {
        self.places.get(parameter).copied()
    }

    /// What the kernel reads: the words of all parameters, low ones first.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The values in their order, for a person to read.
    pub fn values(&self) -> Vec<String> {
        let mut words = self.words.iter();
        let values = self.reps.iter().map(|rep| {
            let words = words.by_ref().take(rep.words()).zip([0, 32, 64, 96]);
            let bits = words.fold(0, |bits, (word, shift)| bits | u128::from(*word) << shift);
            match rep {
                Rep::I32 => (bits as i32).to_string(),
                Rep::I64 => (bits as i64).to_string(),
                Rep::I128 => (bits as i128).to_string(),
                Rep::F32 => f32::from_bits(bits as u32).to_string(),
                Rep::F64 => f64::from_bits(bits as u64).to_string(),
                Rep::B1 | Rep::U32 | Rep::U64 => bits.to_string(),
            }
        });
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_parameter_and_equal_values_two() {
        let five = Expr::parameter(5, Rep::I32);
        let wide = Expr::parameter(-1_i128 as u128, Rep::I128);
        let exprs = [five.clone(), wide, five.clone(), Expr::parameter(5, Rep::I32)];
        let parameters = Parameters::of(&exprs);
        assert_eq!(parameters.words(), [5, u32::MAX, u32::MAX, u32::MAX, u32::MAX, 5]);
        assert_eq!(parameters.values(), ["5", "-1", "5"]);
        let place = |expr: &Expr| match &expr.kind {
            Kind::Parameter(parameter) => parameters.place(parameter),
            _ => None,
        };
        assert_eq!(exprs.each_ref().map(place), [Some(0), Some(1), Some(0), Some(5)]);
        assert_eq!(place(&Expr::parameter(5, Rep::I32)), None);
        assert!(exprs[0] == exprs[2] && exprs[0] != exprs[3]);
    }

    #[test]
    fn values_are_told_by_their_type() {
        let bits = u128::from(2.5_f64.to_bits());
        let exprs = [Expr::parameter(bits, Rep::F64), Expr::parameter(7 << 40, Rep::U64)];
        assert_eq!(Parameters::of(&exprs).values(), ["2.5", (7_u64 << 40).to_string().as_str()]);
    }
}
