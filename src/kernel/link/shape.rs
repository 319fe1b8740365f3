//! What the programs of one pipeline have in common: its bindings, its arenas, its twin.

use std::sync::Arc;

use super::linker::{Kernel, Linker};
use super::programs::{Place, Programs};
use crate::expr::parts;
use crate::fragment::load::widths;
use crate::fragment::spec::{Pipeline, Table};
use crate::fragment::text::{Drive, Generator};
use crate::fragment::twin::{Arenas, TwinPipeline};
use crate::record::{Access, Bound, Program};

/// The slot, the status and the bindings of its own that a kernel has at most.
const MOST_OWN: usize = 5;

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
