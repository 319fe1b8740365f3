//! Strings that a device node only tells apart come to it as dictionaries, where files have them
//! so: a code is looked up for each value of a row group, and not for each row.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::exec::DeviceExec;
use super::scans;
use crate::plan::files::dictionaries;

/// Has the scans below device nodes hand on dictionaries. Stands behind `Offload`.
#[derive(Debug)]
pub struct Dictionaries {
    metadata: Arc<FileMetadataCache>,
}

impl Dictionaries {
    /// `metadata` is where planning keeps what files tell of themselves.
    pub fn new(metadata: Arc<FileMetadataCache>) -> Self {
        Self { metadata }
    }

    /// The source of a device node, with those of the columns as dictionaries that can be.
    fn source(
        &self,
        source: &Arc<dyn ExecutionPlan>,
        coded: &BTreeSet<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // What one part of a union cannot do may keep another part from what goes with it.
        let mut wanted = coded.clone();
        while !wanted.is_empty() {
            let possible = self.possible(source, &wanted);
            if possible == wanted {
                return self.with(source, &wanted);
            }
            wanted = possible;
        }
        Ok(None)
    }

    /// Those of the columns that a plan can hand on as dictionaries.
    fn possible(&self, plan: &Arc<dyn ExecutionPlan>, wanted: &BTreeSet<usize>) -> BTreeSet<usize> {
        if plan.is::<DataSourceExec>() {
            return dictionaries::possible(plan, wanted, &*self.metadata);
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let exprs = projection.expr().iter().map(|part| &part.expr);
            let passed = dictionaries::passed_on(exprs, wanted);
            let below = self.possible(projection.input(), &passed.keys().copied().collect());
            let passed = passed.into_iter().filter(|(column, _)| below.contains(column));
            return passed.flat_map(|(_, outputs)| outputs).collect();
        }
        let alike = plan.children().into_iter().map(|child| self.possible(child, wanted));
        match scans::passes_rows_on(plan) {
            true => alike.reduce(|all, own| &all & &own).unwrap_or_default(),
            false => BTreeSet::new(),
        }
    }

    /// A plan with these columns, which were `possible`, as dictionaries; `None` where files are
    /// not known any more.
    fn with(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        columns: &BTreeSet<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if plan.is::<DataSourceExec>() {
            return dictionaries::scan(plan, columns, &*self.metadata);
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let exprs = projection.expr().iter().map(|part| &part.expr);
            let below = dictionaries::passed_on(exprs, columns).into_keys().collect();
            let Some(input) = self.with(projection.input(), &below)? else { return Ok(None) };
            // Anew: with other children it would keep the types of its columns.
            let new = ProjectionExec::try_new(projection.expr().to_vec(), input)?;
            return Ok(Some(Arc::new(new)));
        }
        let children = plan.children().into_iter().map(|child| self.with(child, columns));
        let Some(children) = children.collect::<Result<Option<Vec<_>>>>()? else {
            return Ok(None);
        };
        replace_children_if_necessary(Arc::clone(plan), children).map(Some)
    }
}

impl PhysicalOptimizerRule for Dictionaries {
    fn name(&self) -> &str {
        "thalweg_dictionaries"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(device) = node.downcast_ref::<DeviceExec>() else {
                return Ok(Transformed::no(node));
            };
            let (mut sources, mut changed) = (Vec::new(), false);
            for (number, source) in node.children().into_iter().enumerate() {
                let reading = device.fragment().reading(number);
                let coded = reading.map(|pipeline| pipeline.coded_columns()).unwrap_or_default();
                let new = self.source(source, &coded)?;
                changed |= new.is_some();
                sources.push(new.unwrap_or_else(|| source.clone()));
            }
            match changed {
                true => Ok(Transformed::yes(replace_children_if_necessary(node, sources)?)),
                false => Ok(Transformed::no(node)),
            }
        })
        .data()
    }
}
