//! A program that tells each access to device memory: its naga IR with calls put in, written as
//! WGSL again. All that it needs to know of a buffer is its binding.

use std::collections::HashSet;
use std::sync::Arc;

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    AddressSpace, AtomicFunction, Barrier, BinaryOperator, Binding, Block, BuiltIn, Expression,
    Function, Handle, Literal, Module, ScalarKind, Span, Statement, TypeInner,
};

use thalweg::config::WORKGROUP;
use thalweg::device::Tier;
use thalweg::record::{Access, Code, Program};

use super::super::linked::{allowed, parse, validated};
use super::place::Place;

/// What a place of the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A load or store; `atomic` where other invocations may change the word meanwhile.
    Load {
        atomic: bool,
    },
    Store {
        atomic: bool,
    },
    /// A read-modify-write; `waited` where the invocation uses what stood there before.
    Atomic {
        waited: bool,
        add: bool,
    },
    /// The same in workgroup memory.
    Shared {
        waited: bool,
        add: bool,
    },
    Barrier,
    /// One time through a loop.
    Loop,
}

/// A place of the program.
#[derive(Debug, Clone)]
pub struct Site {
    pub what: What,
    /// Where it stands.
    pub function: String,
    /// What it touches; 0 of no memory.
    pub binding: usize,
    pub words: u32,
    /// The address is the same for all rows.
    pub constant: bool,
}

impl Site {
    fn of(what: What, function: &Function) -> Self {
        let function = function.name.clone().unwrap_or_default();
        Self { what, function, binding: 0, words: 0, constant: false }
    }
}

/// The program that tells, and its places.
pub struct Counted {
    pub program: Arc<Program>,
    pub sites: Vec<Site>,
    /// Names of the bindings.
    pub buffers: Vec<String>,
    pub bindings: Vec<Access>,
}

/// Words of the log before its entries: the workgroup, workgroups in all, entries, one spare; then
/// a counter for each place.
pub const LOG_HEADER: usize = LOG_COUNTS + MAX_SITES;
pub const LOG_COUNTS: usize = 4;
pub const MAX_SITES: usize = 2044;
/// Words of an entry: step and place, invocation, address.
pub const LOG_ENTRY: usize = 3;

const HELPERS: &str = "
@group(0) @binding(LOG) var<storage, read_write> told: array<atomic<u32>>;
var<private> told_invocation: u32;
var<private> told_step: u32;

fn told_group() -> vec3<u32> {
    return vec3<u32>(atomicLoad(&told[0]), 0u, 0u);
}

fn told_groups() -> vec3<u32> {
    return vec3<u32>(atomicLoad(&told[1]), 1u, 1u);
}

fn told_enter(lane: u32) {
    told_invocation = atomicLoad(&told[0]) * GROUP + lane;
}

fn told_next() {
    told_step += 1u;
}

fn told_access(site: u32, address: u32) {
    let at = HEADER + 3u * atomicAdd(&told[2], 1u);
    if (at + 2u < arrayLength(&told)) {
        atomicStore(&told[at], (told_step << 16u) | site);
        atomicStore(&told[at + 1u], told_invocation);
        atomicStore(&told[at + 2u], address);
    }
}

fn told_count(site: u32) {
    atomicAdd(&told[COUNTS + site], 1u);
}
";

/// The handles of the functions above.
struct Helpers {
    group: Handle<Function>,
    groups: Handle<Function>,
    enter: Handle<Function>,
    next: Handle<Function>,
    access: Handle<Function>,
    count: Handle<Function>,
}

impl Helpers {
    fn of(module: &Module) -> Self {
        let of = |name: &str| {
            let mut all = module.functions.iter();
            let found = all.find(|(_, function)| function.name.as_deref() == Some(name));
            found.unwrap_or_else(|| panic!("no function {name}")).0
        };
        Self {
            group: of("told_group"),
            groups: of("told_groups"),
            enter: of("told_enter"),
            next: of("told_next"),
            access: of("told_access"),
            count: of("told_count"),
        }
    }
}

/// Puts the calls into one function.
struct Teller<'a> {
    /// As it was; types and names are read there.
    module: &'a Module,
    info: &'a FunctionInfo,
    helpers: &'a Helpers,
    function: Function,
    /// Functions that touch device memory, or call one that does.
    touching: &'a HashSet<Handle<Function>>,
    sites: &'a mut Vec<Site>,
    entry: bool,
}

impl Teller<'_> {
    fn literal(&mut self, value: u32) -> Handle<Expression> {
        let literal = Expression::Literal(Literal::U32(value));
        self.function.expressions.append(literal, Span::default())
    }

    fn site(&mut self, site: Site) -> u32 {
        self.sites.push(site);
        assert!(self.sites.len() <= MAX_SITES, "more than {MAX_SITES} places");
        self.sites.len() as u32 - 1
    }

    fn call(function: Handle<Function>, arguments: Vec<Handle<Expression>>) -> Statement {
        Statement::Call { function, arguments, result: None }
    }

    /// A call that counts a place.
    fn count(&mut self, what: What, out: &mut Block) {
        let site = self.site(Site::of(what, &self.function));
        let site = self.literal(site);
        out.push(Self::call(self.helpers.count, vec![site]), Span::default());
    }

    /// Calls that tell an access, of device memory with its address.
    fn tell(&mut self, pointer: Handle<Expression>, what: What, out: &mut Block) {
        let Some(place) = Place::of(self.module, &self.function, pointer) else { return };
        let variable = &self.module.global_variables[place.variable];
        match (variable.space, what) {
            (AddressSpace::WorkGroup, What::Atomic { waited, add }) => {
                return self.count(What::Shared { waited, add }, out);
            }
            (AddressSpace::WorkGroup, _) => return,
            (AddressSpace::Storage { .. }, _) => {}
            (other, _) => panic!("memory of {other:?} is not counted"),
        }
        let what = match what {
            What::Load { .. } => What::Load { atomic: place.atomic },
            What::Store { .. } => What::Store { atomic: place.atomic },
            other => other,
        };
        let binding = variable.binding.expect("a binding").binding as usize;
        let words = place.size.div_ceil(4);
        let constant = place.dynamic.is_empty();
        let site = Site { binding, words, constant, ..Site::of(what, &self.function) };
        let site = self.site(site);
        let site = self.literal(site);
        let address = self.address(&place, out);
        out.push(Self::call(self.helpers.access, vec![site, address]), Span::default());
    }

    /// The first word, as an expression.
    fn address(&mut self, place: &Place, out: &mut Block) -> Handle<Expression> {
        assert!(
            place.bytes.is_multiple_of(4)
                && place.dynamic.iter().all(|(_, stride)| stride.is_multiple_of(4))
        );
        let mut sum = self.literal(place.bytes / 4);
        for (index, stride) in &place.dynamic {
            let stride = self.literal(stride / 4);
            let from = self.function.expressions.len();
            let signed = match self.info[*index].ty.inner_with(&self.module.types) {
                TypeInner::Scalar(scalar) => scalar.kind == ScalarKind::Sint,
                other => panic!("an index of {other:?}"),
            };
            let mut append =
                |expression| self.function.expressions.append(expression, Span::default());
            let index = match signed {
                true => {
                    append(Expression::As { expr: *index, kind: ScalarKind::Uint, convert: None })
                }
                false => *index,
            };
            let (op, left, right) = (BinaryOperator::Multiply, index, stride);
            let product = append(Expression::Binary { op, left, right });
            let (op, left, right) = (BinaryOperator::Add, sum, product);
            sum = append(Expression::Binary { op, left, right });
            let range = self.function.expressions.range_from(from);
            out.push(Statement::Emit(range), Span::default());
        }
        sum
    }

    fn block(&mut self, block: Block, depth: usize) -> Block {
        let mut out = Block::new();
        for (statement, span) in block.span_into_iter() {
            self.statement(statement, span, depth, &mut out);
        }
        out
    }

    fn statement(&mut self, statement: Statement, span: Span, depth: usize, out: &mut Block) {
        match statement {
            Statement::Emit(range) => {
                let loads = range.clone().filter_map(|at| match self.function.expressions[at] {
                    Expression::Load { pointer } => Some(pointer),
                    ref other => {
                        assert!(!is_other_load(other), "{other:?} is not counted");
                        None
                    }
                });
                let loads: Vec<_> = loads.collect();
                out.push(Statement::Emit(range), span);
                for pointer in loads {
                    self.tell(pointer, What::Load { atomic: false }, out);
                }
            }
            Statement::Block(inner) => out.push(Statement::Block(self.block(inner, depth)), span),
            Statement::If { condition, accept, reject } => {
                let accept = self.block(accept, depth);
                let reject = self.block(reject, depth);
                out.push(Statement::If { condition, accept, reject }, span);
            }
            Statement::Switch { selector, cases } => {
                let told = |case: naga::SwitchCase, teller: &mut Self| naga::SwitchCase {
                    body: teller.block(case.body, depth),
                    ..case
                };
                let cases = cases.into_iter().map(|case| told(case, self)).collect();
                out.push(Statement::Switch { selector, cases }, span);
            }
            Statement::Loop { body, continuing, break_if } => {
                let counted = self.touches(&body) || self.touches(&continuing);
                let body =
                    if counted { self.passes(body, depth) } else { self.block(body, depth + 1) };
                let continuing = self.block(continuing, depth + 1);
                out.push(Statement::Loop { body, continuing, break_if }, span);
            }
            Statement::Store { pointer, .. } => {
                out.push(statement, span);
                self.tell(pointer, What::Store { atomic: false }, out);
            }
            Statement::Atomic { pointer, ref fun, result, .. } => {
                let waited = result.is_some_and(|result| self.info[result].ref_count > 0);
                let add = matches!(fun, AtomicFunction::Add | AtomicFunction::Subtract);
                out.push(statement, span);
                self.tell(pointer, What::Atomic { waited, add }, out);
            }
            Statement::ControlBarrier(barrier) => {
                if !barrier.contains(Barrier::SUB_GROUP) {
                    self.count(What::Barrier, out);
                }
                out.push(statement, span);
            }
            Statement::Break
            | Statement::Continue
            | Statement::Return { .. }
            | Statement::MemoryBarrier(_)
            | Statement::Call { .. }
            | Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. } => out.push(statement, span),
            other => panic!("{other:?} is not counted"),
        }
    }

    /// The body of a loop, each time through it counted behind the test that leaves it.
    fn passes(&mut self, body: Block, depth: usize) -> Block {
        let mut out = Block::new();
        let mut counted = false;
        for (statement, span) in body.span_into_iter() {
            let leaves = matches!(&statement, Statement::If { accept, reject, .. }
                if leaves(accept) || leaves(reject));
            if !counted && !leaves && !matches!(statement, Statement::Emit(_)) {
                self.once(depth, &mut out);
                counted = true;
            }
            self.statement(statement, span, depth + 1, &mut out);
            if !counted && leaves {
                self.once(depth, &mut out);
                counted = true;
            }
        }
        out
    }

    /// One time through a loop; of the entry point's, a row's or an entry's.
    fn once(&mut self, depth: usize, out: &mut Block) {
        self.count(What::Loop, out);
        if self.entry && depth == 0 {
            out.push(Self::call(self.helpers.next, Vec::new()), Span::default());
        }
    }

    fn touches(&self, block: &Block) -> bool {
        touches(self.module, &self.function, block, self.touching)
    }
}

/// What reads device memory and is no load.
fn is_other_load(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::ImageSample { .. }
            | Expression::ImageLoad { .. }
            | Expression::RayQueryVertexPositions { .. }
            | Expression::RayQueryGetIntersection { .. }
            | Expression::CooperativeLoad { .. }
    )
}

/// Nothing but the end of a loop.
fn leaves(block: &Block) -> bool {
    matches!(&block[..], [Statement::Break])
}

/// Whether device memory is touched in a block, by itself or by what it calls.
fn touches(
    module: &Module,
    function: &Function,
    block: &Block,
    touching: &HashSet<Handle<Function>>,
) -> bool {
    let storage = |pointer: Handle<Expression>| {
        let place = Place::of(module, function, pointer);
        place.is_some_and(|place| {
            let space = module.global_variables[place.variable].space;
            matches!(space, AddressSpace::Storage { .. })
        })
    };
    let inner = |block: &Block| touches(module, function, block, touching);
    block.iter().any(|statement| match statement {
        Statement::Emit(range) => range.clone().any(|at| match function.expressions[at] {
            Expression::Load { pointer } => storage(pointer),
            _ => false,
        }),
        Statement::Store { pointer, .. } | Statement::Atomic { pointer, .. } => storage(*pointer),
        Statement::Call { function, .. } => touching.contains(function),
        Statement::Block(block) => inner(block),
        Statement::If { accept, reject, .. } => inner(accept) || inner(reject),
        Statement::Loop { body, continuing, .. } => inner(body) || inner(continuing),
        Statement::Switch { cases, .. } => cases.iter().any(|case| inner(&case.body)),
        _ => false,
    })
}

/// Names of the bindings, by number.
fn buffers(module: &Module, count: usize) -> Vec<String> {
    let mut names = vec!["unused".to_string(); count];
    for (_, variable) in module.global_variables.iter() {
        if let (Some(binding), Some(name)) = (&variable.binding, &variable.name)
            && let Some(slot) = names.get_mut(binding.binding as usize)
        {
            slot.clone_from(name);
        }
    }
    names
}

/// The program's module with what it calls to tell, and its places, for a log that is bound last.
pub fn told(wgsl: &str, bindings: usize, tier: Tier) -> Result<Told, String> {
    let helpers = HELPERS
        .replace("LOG", &bindings.to_string())
        .replace("GROUP", &format!("{WORKGROUP}u"))
        .replace("HEADER", &format!("{LOG_HEADER}u"))
        .replace("COUNTS", &format!("{LOG_COUNTS}u"));
    // Before all functions, as naga has those first that others call; behind what WGSL has first.
    let directive = |line: &&str| line.starts_with("enable ") || line.starts_with("requires ");
    let directives = wgsl.split_inclusive('\n').take_while(directive);
    let (first, rest) = wgsl.split_at(directives.map(str::len).sum());
    let (module, info) = parse(&format!("{first}{helpers}{rest}"), allowed(tier))?;
    let (told, sites) = tell(&module, &info);
    let info = validated(&told, allowed(tier))?;
    Ok(Told { module: told, info, sites, buffers: buffers(&module, bindings) })
}

pub struct Told {
    pub module: Module,
    pub info: ModuleInfo,
    pub sites: Vec<Site>,
    pub buffers: Vec<String>,
}

/// The program that tells.
pub fn counted(program: &Program, tier: Tier) -> Counted {
    let mut bindings = program.code.bindings.clone();
    let told = told(&program.code.wgsl, bindings.len(), tier);
    let told = told.unwrap_or_else(|error| panic!("{}: {error}", program.label));
    let flags = naga::back::wgsl::WriterFlags::empty();
    let text = naga::back::wgsl::write_string(&told.module, &told.info, flags);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", program.label));
    bindings.push(Access::ReadWrite);
    let code = Arc::new(Code::new(text, bindings));
    let (label, twin) = (format!("{}, told", program.label), program.twin.clone());
    let bindings = program.code.bindings.clone();
    let program = Arc::new(Program { label, code, parts: Vec::new(), twin });
    Counted { program, sites: told.sites, buffers: told.buffers, bindings }
}

/// The module with the calls, and its places.
fn tell(module: &Module, info: &ModuleInfo) -> (Module, Vec<Site>) {
    let helpers = Helpers::of(module);
    let mut told = module.clone();
    let mut sites = Vec::new();
    let mut touching = HashSet::new();
    let own =
        |function: &Function| function.name.as_ref().is_some_and(|name| name.starts_with("told_"));
    // Functions stand behind those they call.
    for (handle, function) in module.functions.iter().filter(|(_, function)| !own(function)) {
        if touches(module, function, &function.body, &touching) {
            touching.insert(handle);
        }
    }
    let mut teller = |function: &Function, info, entry| {
        let mut teller = Teller {
            module,
            info,
            helpers: &helpers,
            function: function.clone(),
            touching: &touching,
            sites: &mut sites,
            entry,
        };
        let body = teller.block(function.body.clone(), 0);
        teller.function.body = body;
        teller.function
    };
    for (handle, function) in module.functions.iter().filter(|(_, function)| !own(function)) {
        *told.functions.get_mut(handle) = teller(function, &info[handle], false);
    }
    for (at, entry) in module.entry_points.iter().enumerate() {
        let mut function = teller(&entry.function, info.get_entry_point(at), true);
        enter(&mut function, &helpers);
        told.entry_points[at].function = function;
    }
    (told, sites)
}

/// Workgroup and number of workgroups are those of the log: they are played one by one.
fn enter(function: &mut Function, helpers: &Helpers) {
    let mut first = Block::new();
    let arguments = function.expressions.iter().filter_map(|(at, of)| match of {
        Expression::FunctionArgument(index) => Some((at, *index as usize)),
        _ => None,
    });
    let arguments: Vec<_> = arguments.collect();
    let mut entered = false;
    for (at, index) in arguments {
        let result = |helper: Handle<Function>| {
            let call = Statement::Call { function: helper, arguments: vec![], result: Some(at) };
            (Expression::CallResult(helper), call)
        };
        let (expression, call) = match function.arguments[index].binding {
            Some(Binding::BuiltIn(BuiltIn::WorkGroupId)) => result(helpers.group),
            Some(Binding::BuiltIn(BuiltIn::NumWorkGroups)) => result(helpers.groups),
            Some(Binding::BuiltIn(BuiltIn::LocalInvocationIndex)) => {
                entered = true;
                let arguments = vec![at];
                let call = Statement::Call { function: helpers.enter, arguments, result: None };
                (Expression::FunctionArgument(index as u32), call)
            }
            ref other => panic!("an argument {other:?} of the entry point is not counted"),
        };
        *function.expressions.get_mut(at) = expression;
        first.push(call, Span::default());
    }
    assert!(entered, "an entry point without local_invocation_index is not counted");
    first.append(&mut function.body);
    function.body = first;
}
