//! The host side of each shader, by the same stem, and the list of them all.
//!
//! A kernel is a value: its text, the parts it is linked with, and the faults that the parity tests
//! plant in it. `Linker` joins it with the generated part of a pipeline; the twin that does the
//! same on the CPU stands in the kernel's own file.

pub mod link;
pub mod programs;

pub mod reduce;
pub mod group_dense;
pub mod group_hash;
pub mod settle;
pub mod rehash;
pub mod compact;
pub mod mark;
pub mod select;
pub mod scan;
pub mod append;
pub mod build;

use std::borrow::Cow;
use std::sync::Arc;

use crate::device::{AdapterKind, Capabilities, Tier};
use crate::expr::parts;
use crate::fragment::spec::{Pipeline, Table};
use crate::fragment::text::{Drive, Generator, widths};
use crate::fragment::twin::{Arenas, TwinPipeline};
use crate::record::{Access, Bound, Code, Program, Twin};
use programs::{Place, Programs};

/// A hand-written shader.
pub struct Kernel {
    /// The stem of its files.
    pub name: &'static str,
    pub wgsl: &'static str,
    /// Parts under `shaders/` it is linked with, besides the numbers of the tier.
    pub parts: &'static [&'static str],
    /// Replacements of its text, each of which a parity test must notice.
    pub faults: &'static [(&'static str, &'static str)],
}

/// All kernels.
pub const KERNELS: &[&Kernel] = &[
    &reduce::KERNEL,
    &group_dense::KERNEL,
    &group_hash::KERNEL,
    &settle::KERNEL,
    &rehash::KERNEL,
    &compact::KERNEL,
    &mark::KERNEL,
    &select::KERNEL,
    &scan::KERNEL,
    &append::KERNEL,
    &build::KERNEL,
];

/// The part that is linked once for each table that a kernel declares: `tab`, `loc`.
const CELLS: &str = "lib/cells_t0";

/// What stands in place of parts where group tables have cells of 64 bits.
const WIDE_CELLS: &[(&str, &str, &str)] = &[
    ("lib/cell_t0", "lib/cell_t3", include_str!("../../shaders/lib/cell_t3.wgsl")),
    (CELLS, "lib/cells_t3", include_str!("../../shaders/lib/cells_t3.wgsl")),
];

/// The slot, the status and the bindings of its own that a kernel has at most.
const MOST_OWN: usize = 5;

/// The part that is made for a pipeline.
pub const GENERATED: &str = "<generated>";

/// Shader parts by name.
const PARTS: &[(&str, &str)] = &[
    ("lib/grid", include_str!("../../shaders/lib/grid.wgsl")),
    ("lib/hash", include_str!("../../shaders/lib/hash.wgsl")),
    ("lib/join", include_str!("../../shaders/lib/join.wgsl")),
    ("lib/slot", include_str!("../../shaders/lib/slot.wgsl")),
    ("lib/scan", include_str!("../../shaders/lib/scan.wgsl")),
    ("lib/acc_wide", include_str!("../../shaders/lib/acc_wide.wgsl")),
    ("lib/cell_t0", include_str!("../../shaders/lib/cell_t0.wgsl")),
    (CELLS, include_str!("../../shaders/lib/cells_t0.wgsl")),
    ("lib/float_sum", include_str!("../../shaders/lib/float_sum.wgsl")),
    ("lib/spill", include_str!("../../shaders/lib/spill.wgsl")),
    ("lib/place", include_str!("../../shaders/lib/place.wgsl")),
    ("lib/float_bins", include_str!("../../shaders/lib/float_bins.wgsl")),
];

/// Faults of parts, as those of kernels: part, the kernel they are noticed in, text, replacement.
pub const PART_FAULTS: &[(&str, &str, &str, &str)] = &[
    ("lib/place", "group_hash", "if (cell != k[i])", "if (i == 0u && cell != k[i])"),
    ("lib/place", "group_hash", "return entry + HEAD;", "return HEAD;"),
    ("lib/place", "rehash", "return entry + HEAD;", "return HEAD;"),
    ("lib/cells_t3", "group_hash", "atomicMax(&tab[at], cell)", "atomicMax(&tab[at], u64(1u))"),
    ("lib/cells_t3", "group_hash", "at + 1u, vec2<u32>(value.y", "at, vec2<u32>(value.y"),
    ("lib/cells_t3", "group_dense", "atomicAdd(&tab[at], cell", "atomicMax(&tab[at], cell"),
];

/// Arenas bound once more, as wider elements: a 64-bit value is one load then.
#[derive(Default)]
pub struct Views(Vec<(String, u8, usize)>);

impl Views {
    /// Those that an arena needs of a name and a binding: by widths in words.
    pub fn add(&mut self, name: &str, binding: usize, widths: &[usize]) {
        let views = widths.iter().map(|width| (name.to_string(), binding as u8, *width));
        self.0.extend(views);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Their declarations, from binding `first` on.
    pub fn declarations(&self, first: usize) -> String {
        let declare = |(at, (name, _, width)): (usize, &(String, u8, usize))| {
            format!(
                "@group(0) @binding({at}) var<storage, read> {name}_{width}: \
                 array<vec{width}<u32>>;\n"
            )
        };
        (first..).zip(&self.0).map(declare).collect()
    }

    pub fn accesses(&self) -> impl Iterator<Item = Access> {
        self.0.iter().map(|(_, binding, _)| Access::View(*binding))
    }
}

/// Links kernels for one adapter.
#[derive(Clone)]
pub struct Linker {
    pub tier: Tier,
    /// Bindings of a kernel at most.
    pub max_bindings: usize,
    /// See `Generator::trips_max`.
    pub trips_max: u32,
    /// Tests plant a fault: kernel, part or `GENERATED`, text, replacement.
    pub fault: Option<(String, String, String)>,
    /// Tests make every key collide: a text in place of `lib/hash`.
    pub hash: Option<String>,
}

impl Linker {
    pub fn new(capabilities: &Capabilities) -> Self {
        // A software rasteriser ends all loops of an invocation after 65,535 trips, in silence:
        // a third of that for matches leaves room for the loops around and inside them.
        let software = capabilities.kind == AdapterKind::Software;
        let trips_max = if software { 20_000 } else { 1 << 20 };
        let (tier, max_bindings) = (capabilities.tier, capabilities.max_bindings as usize);
        Self { tier, max_bindings, trips_max, fault: None, hash: None }
    }

    /// A program: the kernel, its parts, the numbers of the tier, the generated part.
    ///
    /// `floats`: whether the generated part computes with binary32 and binary64.
    pub fn link(
        &self,
        kernel: &Kernel,
        label: String,
        generated: &str,
        floats: (bool, bool),
        bindings: Vec<Access>,
        twin: Twin,
    ) -> Arc<Program> {
        let (linked, lines) = self.text(kernel, generated, floats);
        let code = Arc::new(Code::new(linked, bindings));
        Arc::new(Program { label, code, parts: lines, twin })
    }

    /// The text of a part, with the fault if it is one of this part.
    fn planted<'a>(&self, part: &str, text: Cow<'a, str>) -> Cow<'a, str> {
        match &self.fault {
            Some((name, from, to)) if name == part => text.replace(from.as_str(), to).into(),
            _ => text,
        }
    }

    fn text(
        &self,
        kernel: &Kernel,
        generated: &str,
        floats: (bool, bool),
    ) -> (String, Vec<(usize, String)>) {
        let wgsl = self.planted(kernel.name, link::part(kernel.name, kernel.wgsl));
        let mut texts = parts::parts(self.tier, floats.0, floats.1)
            .into_iter()
            .map(|(name, text)| (name, link::part(name, text)))
            .collect::<Vec<_>>();
        if !kernel.parts.contains(&"lib/slot") {
            // Nothing is evaluated: no numbers needed.
            texts.clear();
        }
        let table = kernel.wgsl.contains("> tab:");
        for (part, text) in PARTS.iter().filter(|(name, _)| kernel.parts.contains(name)) {
            let wide = WIDE_CELLS.iter().find(|(of, ..)| table && of == part);
            let (name, text) = match wide {
                Some((_, name, text)) if self.tier >= Tier::T3 => (*name, *text),
                _ => (*part, *text),
            };
            let text = self.planted(name, link::part(name, text));
            match &self.hash {
                Some(hash) if name == "lib/hash" => texts.push((name, hash.clone().into())),
                _ if *part == CELLS => {
                    if kernel.wgsl.contains("> loc:") {
                        texts.push((name, for_loc(&text).into()));
                    }
                    if table {
                        texts.push((name, text));
                    }
                }
                _ => texts.push((name, text)),
            }
        }
        texts.push((kernel.name, wgsl));
        texts.push((GENERATED, self.planted(GENERATED, generated.into())));
        let all: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (*name, text.as_ref())).collect();
        link::link(&all)
    }
}

/// The functions of cells for the workgroup's own table.
fn for_loc(cells: &str) -> String {
    cells.replace("tab_", "loc_").replace("tab[", "loc[")
}

/// What the programs of one pipeline have in common.
#[derive(Clone)]
pub struct Shape {
    /// Number of the pipeline in its fragment; see `Place`.
    pub number: usize,
    pub pipeline: Arc<Pipeline>,
    pub tables: Arc<Vec<Table>>,
    pub drive: Drive,
    pub linker: Linker,
    pub programs: Arc<Programs>,
}

impl Shape {
    /// The program of a kernel, made where it is asked for first: what `make` depends on besides
    /// the shape is told by `variant`.
    pub fn program(
        &self,
        kernel: &Kernel,
        variant: &[u32],
        make: impl Fn() -> Arc<Program>,
    ) -> Arc<Program> {
        self.programs.get(self.place(kernel, variant), make)
    }

    /// The same of a kernel that is not always needed.
    pub fn program_if_any(
        &self,
        kernel: &Kernel,
        variant: &[u32],
        make: impl FnOnce() -> Option<Arc<Program>>,
    ) -> Option<Arc<Program>> {
        self.programs.get_if_any(self.place(kernel, variant), make)
    }

    fn place(&self, kernel: &Kernel, variant: &[u32]) -> Place {
        let (pipeline, drive) = (self.number, self.drive);
        Place { pipeline, drive, kernel: kernel.name, variant: variant.to_vec() }
    }

    /// Tables the pipeline probes, in the order they are bound.
    pub fn bound_tables(&self) -> Vec<usize> {
        self.pipeline.probes().map(|probe| probe.table).collect()
    }

    /// Whether the pipeline computes with binary32, with binary64.
    pub fn floats(&self) -> (bool, bool) {
        parts::float_use(self.pipeline.exprs())
    }

    /// True if a join marks the build rows it matched.
    pub fn marks(&self) -> bool {
        self.pipeline.probes().any(|probe| probe.kind.marks())
    }

    pub fn generator(&self) -> Generator<'_> {
        Generator {
            pipeline: &self.pipeline,
            tables: &self.tables,
            parameters: self.pipeline.parameters(),
            drive: self.drive,
            trips_max: self.linker.trips_max,
            views: self.views(0).count() > 0,
        }
    }

    /// The views of its arenas, of which the tables' are bound from `first_table` on; none where
    /// the adapter has too few bindings for them.
    fn views(&self, first_table: usize) -> Views {
        let mut views = Views::default();
        if self.drive == Drive::Slot {
            views.add("slot", 0, &widths(&self.pipeline.columns));
        }
        for (at, table) in self.bound_tables().into_iter().enumerate() {
            // The slots of an index are pairs too.
            let mut widths = widths(&self.tables[table].columns);
            widths.retain(|width| *width != 2);
            widths.push(2);
            views.add(&format!("t{table}"), first_table + at, &widths);
        }
        let tables = self.bound_tables().len();
        let fits = MOST_OWN + tables + usize::from(self.marks()) + views.count();
        if fits <= self.linker.max_bindings { views } else { Views::default() }
    }

    /// Declarations of the bindings after the kernel's own `fixed` ones: join tables, marks, views.
    pub fn declarations(&self, fixed: usize) -> String {
        let mut text = String::new();
        let mut at = fixed;
        for table in self.bound_tables() {
            text.push_str(&format!(
                "@group(0) @binding({at}) var<storage, read> t{table}: array<u32>;\n"
            ));
            at += 1;
        }
        if self.marks() {
            text.push_str(&format!(
                "@group(0) @binding({at}) var<storage, read_write> marks: array<atomic<u32>>;\n"
            ));
            at += 1;
        }
        text + &self.views(fixed).declarations(at)
    }

    /// Access of all bindings: the slot, the status and `own` ones, the tables, the marks.
    pub fn bindings(&self, own: usize) -> Vec<Access> {
        let mut bindings = vec![Access::Read, Access::ReadWrite];
        bindings.extend(std::iter::repeat_n(Access::ReadWrite, own));
        bindings.extend(self.bound_tables().iter().map(|_| Access::Read));
        if self.marks() {
            bindings.push(Access::ReadWrite);
        }
        bindings.extend(self.views(2 + own).accesses());
        bindings
    }

    pub fn twin(&self) -> TwinPipeline {
        TwinPipeline {
            pipeline: self.pipeline.clone(),
            tables: self.tables.clone(),
            drive: self.drive,
        }
    }

    /// `name<detail>` for labels.
    pub fn label(&self, name: &str, detail: &str) -> String {
        let tail = match self.drive {
            Drive::Slot => String::new(),
            Drive::Tail(table) => format!(" tail {table}"),
        };
        format!("{name}<{detail}{tail}>")
    }
}

/// Splits a fused kernel's buffers: the arenas, the status words, the kernel's `own` ones. What
/// `work` finds raised goes to the status.
pub fn with_arenas(
    job: &TwinPipeline,
    bound: &mut Bound<'_>,
    own: usize,
    work: impl FnOnce(&mut Arenas<'_>, Vec<&mut [u32]>),
) {
    let mut buffers: Vec<&mut [u32]> = bound.buffers.iter_mut().map(|b| &mut **b).collect();
    let marks_bound = job.pipeline.probes().any(|probe| probe.kind.marks());
    let mut empty = [];
    let marks: &mut [u32] =
        if marks_bound { buffers.pop().unwrap_or(&mut empty) } else { &mut empty };
    let rest = buffers.split_off((2 + own).min(buffers.len()));
    let kernel = buffers.split_off(2.min(buffers.len()));
    let mut tables: Vec<&[u32]> = vec![&[]; job.tables.len()];
    for (probe, words) in job.pipeline.probes().zip(rest) {
        tables[probe.table] = words;
    }
    let mut buffers = buffers.into_iter();
    let (Some(slot), Some(status)) = (buffers.next(), buffers.next()) else { return };
    let mut arenas = Arenas { slot, tables, marks, faults: 0, tuples: status[2] };
    work(&mut arenas, kernel);
    let Arenas { faults, tuples, .. } = arenas;
    status[0] |= faults;
    status[2] = tuples;
}
