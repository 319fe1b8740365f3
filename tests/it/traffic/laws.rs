//! Laws about the code of all kernels, on naga's IR. Where one is broken today stands in its list,
//! by kernel and buffer: what is not listed fails, and so does what is listed and holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use naga::{
    AddressSpace, BinaryOperator, Block, Expression, Function, Handle, Literal, Module, Statement,
};

use thalweg::device::Tier;

use super::super::linked::{Linked, allowed, parse, programs};
use super::counted::{Site, Told, What, told};
use super::place::Place;

/// A kernel and one of its buffers.
type Found = BTreeSet<(String, String)>;

/// A program's code: its IR, and the places that the entry point comes to, with names of buffers.
struct Code<'a> {
    module: &'a Module,
    sites: &'a [(Site, String)],
}

/// Names of the buffers in which a program breaks a law.
type Law = fn(&Code<'_>) -> BTreeSet<String>;

/// The programs from `tier` on keep the law but for `known`; the planted text does not.
fn check(law: Law, tier: Tier, known: &[(&str, &[&str])], planted: &str) {
    let (module, _) = parse(planted, allowed(tier)).unwrap();
    let bindings = module.global_variables.iter().filter(|(_, of)| of.binding.is_some()).count();
    let sites = &reached_sites(&module, told(planted, bindings, tier).unwrap());
    let seen = law(&Code { module: &module, sites });
    assert_eq!(seen, BTreeSet::from(["planted".into()]), "what was planted is not seen");
    let mut found = Found::new();
    for (linked, sites) in programs().iter().zip(all_sites()) {
        if linked.tiers.iter().any(|of| *of >= tier) {
            let buffers = law(&Code { module: &linked.module, sites });
            found.extend(buffers.into_iter().map(|buffer| (linked.kernel.to_string(), buffer)));
        }
    }
    let pair = |kernel: &str, buffer: &str| (kernel.to_string(), buffer.to_string());
    let known: Found = known
        .iter()
        .flat_map(|(kernel, buffers)| buffers.iter().map(move |buffer| pair(kernel, buffer)))
        .collect();
    let new: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "broken anew: {new:?}\nholds by now: {gone:?}");
}

/// Those of all programs, of which each access was counted.
fn all_sites() -> &'static [Vec<(Site, String)>] {
    static ALL: LazyLock<Vec<Vec<(Site, String)>>> = LazyLock::new(|| {
        let of = |linked: &Linked| {
            let code = &linked.program.code;
            let told = told(&code.wgsl, code.bindings.len(), linked.tier());
            let told = told.unwrap_or_else(|error| panic!("{}: {error}", linked.place()));
            let counted = told.sites.iter().filter(|site| site.words > 0).count();
            assert!(counted > 0, "{}", linked.place());
            assert_eq!(counted, accesses(&linked.module), "{}", linked.place());
            reached_sites(&linked.module, told)
        };
        programs().iter().map(of).collect()
    });
    &ALL
}

/// The places that the entry point comes to.
fn reached_sites(module: &Module, told: Told) -> Vec<(Site, String)> {
    let reached = reached(module).into_iter();
    let reached: HashSet<&str> = reached.filter_map(|of| of.name.as_deref()).collect();
    let sites = told.sites.into_iter();
    let sites = sites.filter(|site| reached.contains(site.function.as_str()));
    sites.map(|site| (site.clone(), buffer(&told.buffers[site.binding]))).collect()
}

/// A buffer's name; of a join's table without its number, which a plan gives it.
fn buffer(name: &str) -> String {
    match name.strip_prefix('t') {
        Some(number) if number.parse::<u32>().is_ok() => "t".into(),
        _ => name.into(),
    }
}

fn name(module: &Module, place: &Place) -> String {
    module.global_variables[place.variable].name.clone().unwrap_or_default()
}

fn is_storage(module: &Module, place: &Place) -> bool {
    let space = module.global_variables[place.variable].space;
    matches!(space, AddressSpace::Storage { .. })
}

/// The functions that the entry point comes to, itself included.
fn reached(module: &Module) -> Vec<&Function> {
    fn calls(block: &Block, found: &mut Vec<Handle<Function>>) {
        for statement in block.iter() {
            if let Statement::Call { function, .. } = statement {
                found.push(*function);
            }
            blocks(statement).into_iter().for_each(|block| calls(block, found));
        }
    }
    let main = &module.entry_points[0].function;
    let (mut all, mut known, mut next) = (vec![main], HashSet::new(), Vec::new());
    calls(&main.body, &mut next);
    while let Some(function) = next.pop() {
        if known.insert(function) {
            all.push(&module.functions[function]);
            calls(&module.functions[function].body, &mut next);
        }
    }
    all
}

/// The blocks of a statement.
fn blocks(statement: &Statement) -> Vec<&Block> {
    match statement {
        Statement::Block(block) => vec![block],
        Statement::If { accept, reject, .. } => vec![accept, reject],
        Statement::Loop { body, continuing, .. } => vec![body, continuing],
        Statement::Switch { cases, .. } => cases.iter().map(|case| &case.body).collect(),
        _ => Vec::new(),
    }
}

// ---------------------------------------------------------------------------------- all counted

/// Accesses of device memory in a module, however deep they stand: loads are expressions wherever
/// they are evaluated, all others statements.
fn accesses(module: &Module) -> usize {
    fn written(module: &Module, function: &Function, block: &Block) -> usize {
        let of = |statement: &Statement| {
            let own = match statement {
                Statement::Store { pointer, .. } | Statement::Atomic { pointer, .. } => {
                    let place = Place::of(module, function, *pointer);
                    usize::from(place.is_some_and(|place| is_storage(module, &place)))
                }
                _ => 0,
            };
            let inner = blocks(statement).into_iter();
            own + inner.map(|block| written(module, function, block)).sum::<usize>()
        };
        block.iter().map(of).sum()
    }
    let loaded = |function: &Function| {
        let loads = function.expressions.iter().filter(|(_, expression)| match expression {
            Expression::Load { pointer } => Place::of(module, function, *pointer)
                .is_some_and(|place| is_storage(module, &place)),
            _ => false,
        });
        loads.count()
    };
    let functions = module.functions.iter().map(|(_, function)| function);
    let functions = functions.chain(module.entry_points.iter().map(|entry| &entry.function));
    functions.map(|function| loaded(function) + written(module, function, &function.body)).sum()
}

/// What the table of traffic does not count is not in it.
#[test]
fn every_access_is_counted() {
    assert_eq!(all_sites().len(), programs().len());
    let main = "@compute @workgroup_size(256)
        fn main(@builtin(local_invocation_index) lane: u32) { out[lane] = ";
    let out = "@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n";
    let is_counted = |declared: &str, value: &str| {
        let wgsl = format!("{out}{declared}\n{main}{value}; }}");
        std::panic::catch_unwind(|| told(&wgsl, 2, Tier::T0)).is_ok_and(|told| told.is_ok())
    };
    let read = "@group(0) @binding(1) var<storage, read> a";
    assert!(is_counted(&format!("{read}: array<vec2<u32>>;"), "a[lane].y"));
    let pair = "struct Pair { x: u32, y: u32 }\n";
    assert!(!is_counted(
        &format!("{pair}{read}: array<Pair>;\nfn f(p: Pair) -> u32 {{ return p.x; }}"),
        "f(a[lane])"
    ));
    assert!(!is_counted("@group(0) @binding(1) var<uniform> a: vec4<u32>;", "a.x"));
    assert!(!is_counted(
        "@group(0) @binding(1) var a: texture_storage_2d<r32uint, read>;",
        "textureLoad(a, vec2<u32>(lane, 0u)).x"
    ));
}

// ---------------------------------------------------------------------------------- wide columns

/// An index as what it is computed of, and what is added to that: equal texts are equal values in
/// one run of a function's straight code.
struct Forms<'a> {
    module: &'a Module,
    function: &'a Function,
    known: HashMap<Handle<Expression>, (String, u32)>,
}

impl Forms<'_> {
    fn of(&mut self, at: Handle<Expression>) -> (String, u32) {
        if let Some(known) = self.known.get(&at) {
            return known.clone();
        }
        let form = match self.function.expressions[at] {
            Expression::Literal(Literal::U32(value)) => (String::new(), value),
            Expression::Binary { op: BinaryOperator::Add, left, right } => {
                let ((left, first), (right, second)) = (self.of(left), self.of(right));
                let sum = match (left.is_empty(), right.is_empty()) {
                    (true, _) => right,
                    (_, true) => left,
                    _ => format!("({left} + {right})"),
                };
                (sum, first.wrapping_add(second))
            }
            Expression::Binary { op, left, right } => {
                let (left, right) = (self.of(left), self.of(right));
                (format!("({left:?} {op:?} {right:?})"), 0)
            }
            Expression::Load { pointer } => match self.load(pointer) {
                Some((place, form)) => (format!("{}[{form}]", name(self.module, &place)), 0),
                None => (format!("{:?}", self.function.expressions[pointer]), 0),
            },
            Expression::FunctionArgument(index) => (format!("argument {index}"), 0),
            _ => (format!("{at:?}"), 0),
        };
        self.known.insert(at, form.clone());
        form
    }

    /// Where device memory is read by one index, and the form of that.
    fn load(&mut self, pointer: Handle<Expression>) -> Option<(Place, String)> {
        let place = Place::of(self.module, self.function, pointer)?;
        if !is_storage(self.module, &place) {
            return None;
        }
        let mut form = String::new();
        for (index, stride) in &place.dynamic {
            let (of, add) = self.of(*index);
            form.push_str(&format!("{of} + {} by {stride}", add + place.bytes / stride));
        }
        if place.dynamic.is_empty() {
            form = format!("{}", place.bytes);
        }
        Some((place, form))
    }
}

/// Buffers of which neighbouring words of a column are loaded one by one. A column begins where the
/// buffer's own first words say.
fn scalar_loads(code: &Code<'_>) -> BTreeSet<String> {
    let module = code.module;
    let mut found = BTreeSet::new();
    for function in reached(module) {
        let mut forms = Forms { module, function, known: HashMap::new() };
        let mut seen: HashSet<(String, String, u32)> = HashSet::new();
        for (_, expression) in function.expressions.iter() {
            let Expression::Load { pointer } = expression else { continue };
            let Some(place) = Place::of(module, function, *pointer) else { continue };
            let ([(index, 4)], 4) = (&place.dynamic[..], place.size) else { continue };
            if !is_storage(module, &place) {
                continue;
            }
            let (name, (form, add)) = (name(module, &place), forms.of(*index));
            if form.contains(&format!("{name}[")) {
                seen.insert((name, form, add));
            }
        }
        let next = |(name, form, add): &(String, String, u32)| {
            seen.contains(&(name.clone(), form.clone(), add + 1))
        };
        found.extend(seen.iter().filter(|load| next(load)).map(|(name, ..)| buffer(name)));
    }
    found
}

/// A column of 64 bits is loaded by one instruction, not by two that each wait for memory.
#[test]
fn wide_columns_are_loaded_as_vectors() {
    let planted = "
        @group(0) @binding(0) var<storage, read> planted: array<u32>;
        @group(0) @binding(1) var<storage, read_write> out: array<vec2<u32>>;
        @compute @workgroup_size(256)
        fn main(@builtin(local_invocation_index) row: u32) {
            let first = planted[8];
            out[row] = vec2<u32>(planted[first + row * 2u], planted[planted[8] + row * 2u + 1u]);
        }";
    check(scalar_loads, Tier::T0, &[], planted);
}

// ---------------------------------------------------------------------------------- waiting

fn waited_adds(code: &Code<'_>) -> BTreeSet<String> {
    let waits = What::Atomic { waited: true, add: true };
    let waited = code.sites.iter().filter(|(site, _)| site.what == waits);
    waited.map(|(_, name)| name.clone()).collect()
}

/// With 64-bit atomics nobody needs the carry of a sum, so that nobody waits for it.
#[test]
fn sums_wait_for_nothing_where_atomics_have_64_bits() {
    // A place is asked for, which is waited for everywhere: in the list of rows put down, and for
    // the tuples of a tile; and whether a join's key has a row already, in its index.
    let known: [(&str, &[&str]); 4] = [
        ("group_dense", &["spill"]),
        ("group_hash", &["spill"]),
        ("build", &["index"]),
        ("select", &["status"]),
    ];
    let planted = "
        @group(0) @binding(0) var<storage, read_write> planted: array<atomic<u32>>;
        @group(0) @binding(1) var<storage, read_write> sound: array<atomic<u32>>;
        @compute @workgroup_size(256)
        fn main(@builtin(local_invocation_index) lane: u32) {
            atomicAdd(&sound[0], lane);
            let old = atomicAdd(&planted[0], lane);
            atomicMax(&sound[1], old);
        }";
    check(waited_adds, Tier::T3, &known, planted);
}

// ---------------------------------------------------------------------------------- atomic loads

fn needless_atomics(code: &Code<'_>) -> BTreeSet<String> {
    let changes = |what: What| matches!(what, What::Store { .. } | What::Atomic { .. });
    let names = |of: &dyn Fn(What) -> bool| -> BTreeSet<String> {
        let sites = code.sites.iter().filter(|(site, _)| of(site.what));
        sites.map(|(_, name)| name.clone()).collect()
    };
    let loaded = names(&|what| what == What::Load { atomic: true });
    &loaded - &names(&changes)
}

/// An atomic load passes all caches by, and some hardware makes it a write: a buffer that a
/// dispatch only reads is read as it is.
#[test]
fn what_is_only_read_is_not_read_atomically() {
    // In a tail, which rows are owed.
    let marks: &[&str] = &["marks"];
    let known: [(&str, &[&str]); 3] = [("reduce", marks), ("select", marks), ("group_hash", marks)];
    let planted = "
        @group(0) @binding(0) var<storage, read_write> planted: array<atomic<u32>>;
        @group(0) @binding(1) var<storage, read_write> sound: array<atomic<u32>>;
        @compute @workgroup_size(256)
        fn main(@builtin(local_invocation_index) lane: u32) {
            if (atomicLoad(&sound[0]) == 0u) { atomicStore(&sound[0], atomicLoad(&planted[lane])); }
        }";
    check(needless_atomics, Tier::T0, &known, planted);
}
