//! Where a pointer of naga's IR leads.

use naga::{
    AddressSpace, Expression, Function, GlobalVariable, Handle, Literal, Module, TypeInner,
};

/// Words from the start of a buffer, as the program computes them.
pub struct Place {
    pub variable: Handle<GlobalVariable>,
    pub bytes: u32,
    pub dynamic: Vec<(Handle<Expression>, u32)>,
    pub size: u32,
    pub atomic: bool,
}

impl Place {
    /// Where a pointer leads; `None` for private and local variables.
    ///
    /// # Panics
    /// At a pointer of a kind that is not known: what is not understood is not counted.
    pub fn of(module: &Module, function: &Function, pointer: Handle<Expression>) -> Option<Self> {
        let inner = |ty: Handle<naga::Type>| module.types[ty].inner.clone();
        let size = |inner: &TypeInner| inner.size(module.to_ctx());
        let (mut chain, mut at) = (Vec::new(), pointer);
        let (variable, mut now) = loop {
            match &function.expressions[at] {
                Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
                    chain.push(at);
                    at = *base;
                }
                Expression::GlobalVariable(variable) => {
                    break (*variable, inner(module.global_variables[*variable].ty));
                }
                Expression::LocalVariable(_) => return None,
                Expression::FunctionArgument(index) => {
                    let ty = inner(function.arguments[*index as usize].ty);
                    let private = [AddressSpace::Function, AddressSpace::Private];
                    match ty.pointer_space() {
                        Some(space) if private.contains(&space) => return None,
                        _ => panic!("a pointer by argument, {ty:?}, is not counted"),
                    }
                }
                other => panic!("a pointer by {other:?} is not counted"),
            }
        };
        if module.global_variables[variable].space == AddressSpace::Private {
            return None;
        }
        let mut place = Self { variable, bytes: 0, dynamic: Vec::new(), size: 0, atomic: false };
        for step in chain.into_iter().rev() {
            let (next, stride) = match (&function.expressions[step], &now) {
                (Expression::AccessIndex { index, .. }, TypeInner::Struct { members, .. }) => {
                    let member = &members[*index as usize];
                    place.bytes += member.offset;
                    now = inner(member.ty);
                    continue;
                }
                (_, TypeInner::Array { base, stride, .. }) => (inner(*base), *stride),
                (_, TypeInner::Vector { scalar, .. }) => {
                    (TypeInner::Scalar(*scalar), u32::from(scalar.width))
                }
                (step, of) => panic!("{step:?} into {of:?} is not counted"),
            };
            match &function.expressions[step] {
                Expression::AccessIndex { index, .. } => place.bytes += index * stride,
                Expression::Access { index, .. } => match constant(module, function, *index) {
                    Some(index) => place.bytes += index * stride,
                    None => place.dynamic.push((*index, stride)),
                },
                _ => {}
            }
            now = next;
        }
        match now {
            TypeInner::Scalar(_) | TypeInner::Vector { .. } => {}
            TypeInner::Atomic(_) => place.atomic = true,
            ref other => panic!("a whole {other:?} at once is not counted"),
        }
        place.size = size(&now);
        Some(place)
    }
}

fn constant(module: &Module, function: &Function, index: Handle<Expression>) -> Option<u32> {
    let literal = match function.expressions[index] {
        Expression::Literal(literal) => literal,
        Expression::Constant(constant) => {
            match module.global_expressions[module.constants[constant].init] {
                Expression::Literal(literal) => literal,
                _ => return None,
            }
        }
        _ => return None,
    };
    match literal {
        Literal::U32(value) => Some(value),
        Literal::I32(value) => u32::try_from(value).ok(),
        _ => None,
    }
}
