//! What the stock grammar or planner does not take as it is meant, rewritten into what it does: in
//! tokens before the grammar, in the syntax tree behind it, or in the plan. One rewrite a file.

pub mod apart;
pub mod asof;
pub mod columns;
pub mod emit;
pub mod escape;
pub mod group_window;
pub mod precedence;
pub mod readers;
pub mod short;
pub mod travel;
pub mod unions;
pub mod using;
