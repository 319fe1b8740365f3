//! What a fragment does, as data: fixed when the query is planned, the same for every slot.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use crate::agg::{Acc, Aggregate};
use crate::expr::ir::{Expr, Rep};
use crate::expr::parameters::Parameters;

/// How a column lies in an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Store {
    /// One bit a row.
    Bits,
    /// One word a row: 8- and 16-bit integers are widened, decimals of up to 9 digits narrowed.
    W32,
    /// Two words a row; decimals of up to 18 digits are narrowed to it.
    W64,
    W128,
}

impl Store {
    /// Words that `rows` rows take.
    pub fn words(self, rows: usize) -> usize {
        match self {
            Store::Bits => rows.div_ceil(32),
            Store::W32 => rows,
            Store::W64 => 2 * rows,
            Store::W128 => 4 * rows,
        }
    }

    /// The narrowest store that holds every value of the type.
    pub fn of(data_type: &DataType, rep: Rep) -> Self {
        match (data_type, rep) {
            (DataType::Decimal128(digits, _), _) if *digits <= 9 => Store::W32,
            (DataType::Decimal128(digits, _), _) if *digits <= 18 => Store::W64,
            (_, Rep::B1) => Store::Bits,
            (_, Rep::I32 | Rep::U32 | Rep::F32) => Store::W32,
            (_, Rep::I64 | Rep::U64 | Rep::F64) => Store::W64,
            (_, Rep::I128) => Store::W128,
        }
    }
}

/// A set of strings that share codes: join keys of both sides have one domain.
pub type Domain = usize;

/// A column that is uploaded, of a slot or of a join table.
#[derive(Debug, Clone)]
pub struct ArenaColumn {
    /// Its number in the batches that are encoded.
    pub index: usize,
    pub name: String,
    pub data_type: DataType,
    pub rep: Rep,
    pub store: Store,
    pub nullable: bool,
    /// For strings, whose codes are uploaded.
    pub domain: Option<Domain>,
}

/// What an expression's `Input(i)` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A column of the slot, by its number among the pipeline's `columns`.
    Slot(usize),
    /// A column of a join table.
    Table { table: usize, column: usize },
    /// True where the tuple came to the join with this table from the probe side; false where it
    /// is a build row without a match, of this join or of a later one.
    Probed { table: usize },
}

/// A function of one string column, evaluated on the CPU once per distinct value.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The strings it is a function of.
    pub domain: Domain,
    /// Reads column 0 of a batch with one column of `argument` type.
    pub expr: Arc<dyn PhysicalExpr>,
    pub argument: DataType,
    pub data_type: DataType,
    pub rep: Rep,
    /// The domain of the results, where they are strings.
    pub result: Option<Domain>,
}

impl Lookup {
    /// Words of one entry: the value and a word of flags.
    pub fn entry_words(&self) -> usize {
        self.rep.words() + 1
    }
}

/// The join kinds the kernels know, from the point of view of DataFusion's sides: the build side
/// is the left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinKind {
    Inner,
    /// Keeps build rows without a match.
    Left,
    /// Keeps probe rows without a match.
    Right,
    Full,
    /// Build rows with (`LeftSemi`), without (`LeftAnti`) a match.
    LeftSemi,
    LeftAnti,
    /// Probe rows with, without a match.
    RightSemi,
    RightAnti,
}

impl JoinKind {
    /// True if the join needs to know which build rows were matched.
    pub fn marks(self) -> bool {
        matches!(self, Self::Left | Self::Full | Self::LeftSemi | Self::LeftAnti)
    }

    /// True if tuples go on to the next step while probing (and not only in the tail).
    pub fn emits_matches(self) -> bool {
        !matches!(self, Self::LeftSemi | Self::LeftAnti)
    }

    /// True if the build side's columns are visible after the join.
    pub fn shows_build(self) -> bool {
        !matches!(self, Self::RightSemi | Self::RightAnti)
    }
}

#[derive(Debug, Clone)]
pub struct Probe {
    pub table: usize,
    pub kind: JoinKind,
    /// In the order of the table's keys.
    pub keys: Vec<Expr>,
    pub null_equals_null: bool,
    /// Over the tuple including this table's row.
    pub residual: Option<Expr>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Filter(Expr),
    Probe(Box<Probe>),
}

/// One accumulator with what it takes in.
#[derive(Debug, Clone)]
pub struct Fold {
    pub acc: Acc,
    /// `None` counts rows.
    pub arg: Option<Expr>,
    /// Rows where it is not true are left out.
    pub filter: Option<Expr>,
}

impl Fold {
    /// Whether a row may add nothing, so that a group may have no value.
    pub fn may_miss(&self) -> bool {
        self.filter.is_some() || self.arg.as_ref().is_some_and(|arg| arg.nullable)
    }
}

#[derive(Debug, Clone)]
pub struct Key {
    pub expr: Expr,
    pub data_type: DataType,
    pub domain: Option<Domain>,
}

/// Where an output column comes from.
#[derive(Debug, Clone)]
pub enum Output {
    /// Taken on the host from the source's rows.
    Source(usize),
    /// Taken on the host from a table's rows.
    Table { table: usize, column: usize },
    /// Computed by the kernel.
    Computed { expr: Expr, data_type: DataType, domain: Option<Domain> },
}

#[derive(Debug, Clone)]
pub enum Sink {
    /// Rows, in the order of the source.
    Select { outputs: Vec<Output>, schema: SchemaRef },
    /// One row.
    Reduce(Aggregation),
    /// A row per key.
    Group { keys: Vec<Key>, aggregation: Aggregation },
    /// What the columns of the join table hold that the pipeline builds: no row of it is wanted on
    /// the host.
    Store { columns: Vec<Expr> },
}

#[derive(Debug, Clone)]
pub struct Aggregation {
    /// All accumulators of all aggregates, in order.
    pub folds: Vec<Fold>,
    pub aggregates: Vec<Arc<Aggregate>>,
    /// Partial states (DataFusion's columns) rather than final values.
    pub partial: bool,
    pub schema: SchemaRef,
}

impl Aggregation {
    /// The accumulators, in order.
    pub fn accs(&self) -> Vec<Acc> {
        self.folds.iter().map(|fold| fold.acc).collect()
    }

    /// Words of one group's states.
    pub fn words(&self) -> usize {
        self.folds.iter().map(|fold| fold.acc.words()).sum()
    }
}

/// Source, steps, sink.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Number of the source among the fragment's.
    pub source: usize,
    pub schema: SchemaRef,
    pub columns: Vec<ArenaColumn>,
    pub inputs: Vec<Input>,
    /// Lookup tables by the number expressions use.
    pub lookups: Vec<Lookup>,
    pub steps: Vec<Step>,
    pub sink: Sink,
}

impl Pipeline {
    /// True if nothing happens between the source and the output of its columns.
    pub fn is_bare(&self) -> bool {
        self.steps.is_empty() && self.source_columns().is_some()
    }

    /// The columns of the source that are put out, where it is nothing else.
    pub fn source_columns(&self) -> Option<Vec<usize>> {
        let Sink::Select { outputs, .. } = &self.sink else { return None };
        let column = |output: &Output| match output {
            Output::Source(column) => Some(*column),
            Output::Table { .. } | Output::Computed { .. } => None,
        };
        outputs.iter().map(column).collect()
    }

    /// The columns of the source of which nothing is read but the codes of their strings.
    pub fn coded_columns(&self) -> BTreeSet<usize> {
        let of = |coded: bool| {
            let columns =
                self.columns.iter().filter(move |column| column.domain.is_some() == coded);
            columns.map(|column| column.index)
        };
        let mut coded: BTreeSet<usize> = of(true).collect();
        of(false).for_each(|index| {
            coded.remove(&index);
        });
        if let Sink::Select { outputs, .. } = &self.sink {
            for output in outputs {
                if let Output::Source(index) = output {
                    coded.remove(index);
                }
            }
        }
        coded
    }

    /// Every expression of the steps and the sink.
    pub fn exprs(&self) -> Vec<&Expr> {
        let mut all = Vec::new();
        for step in &self.steps {
            match step {
                Step::Filter(predicate) => all.push(predicate),
                Step::Probe(probe) => {
                    all.extend(&probe.keys);
                    all.extend(&probe.residual);
                }
            }
        }
        let folds = match &self.sink {
            Sink::Select { outputs, .. } => {
                all.extend(outputs.iter().filter_map(|output| match output {
                    Output::Computed { expr, .. } => Some(expr),
                    _ => None,
                }));
                &[]
            }
            Sink::Store { columns } => {
                all.extend(columns);
                &[]
            }
            Sink::Reduce(aggregation) => aggregation.folds.as_slice(),
            Sink::Group { keys, aggregation } => {
                all.extend(keys.iter().map(|key| &key.expr));
                aggregation.folds.as_slice()
            }
        };
        for fold in folds {
            all.extend(&fold.arg);
            all.extend(&fold.filter);
        }
        all
    }

    /// The parameters of every expression.
    pub fn parameters(&self) -> Parameters {
        Parameters::of(self.exprs())
    }

    /// The step that probes a table.
    pub fn step_of(&self, table: usize) -> Option<usize> {
        let probes = |step: &Step| matches!(step, Step::Probe(probe) if probe.table == table);
        self.steps.iter().position(probes)
    }

    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.steps.iter().filter_map(|step| match step {
            Step::Probe(probe) => Some(probe.as_ref()),
            Step::Filter(_) => None,
        })
    }
}

/// The build side of a join: a pipeline of whose rows the columns that expressions and keys need
/// are kept on the device; the rows are kept on the host too where an output needs them
/// (`Sink::Select`; else `Sink::Store`).
#[derive(Debug, Clone)]
pub struct Table {
    pub pipeline: Pipeline,
    /// Columns in the arena; `index` counts the pipeline's output columns.
    pub columns: Vec<ArenaColumn>,
    /// Numbers of the key columns among `columns`.
    pub keys: Vec<usize>,
    /// Numbers of the columns that stand beside the keys in the index; see `join::place_payloads`.
    pub payload: Vec<usize>,
}

/// Join tables in the order they are built, then the main pipeline.
#[derive(Debug, Clone)]
pub struct Fragment {
    pub tables: Vec<Table>,
    pub main: Pipeline,
    /// How many string domains there are.
    pub domains: usize,
}

impl Fragment {
    /// The pipeline that reads a source.
    pub fn reading(&self, source: usize) -> Option<&Pipeline> {
        let mut pipelines = self.tables.iter().map(|table| &table.pipeline).chain([&self.main]);
        pipelines.find(|pipeline| pipeline.source == source)
    }

    /// The pipeline that probes a join table, and how.
    pub fn probing(&self, table: usize) -> Option<(&Pipeline, &Probe)> {
        let pipelines = self.tables.iter().map(|table| &table.pipeline).chain([&self.main]);
        let mut probes = pipelines.flat_map(|of| of.probes().map(move |probe| (of, probe)));
        probes.find(|(_, probe)| probe.table == table)
    }
}
