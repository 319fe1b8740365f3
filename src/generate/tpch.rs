//! TPC-H's eight tables, exactly as the benchmark's own generator makes them, by `tpchgen`.

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow,
    RecordBatchIterator, RegionArrow, SupplierArrow,
};

use super::Table;

/// The tables' names, largest first.
pub const NAMES: [&str; 8] =
    ["lineitem", "orders", "partsupp", "part", "customer", "supplier", "nation", "region"];

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Rows of a table at scale 1. Lineitem's are an average: an order has one to seven.
fn rows_at_scale_one(name: &str) -> f64 {
    match name {
        "lineitem" => 6_000_000.0,
        "orders" => 1_500_000.0,
        "partsupp" => 800_000.0,
        "part" => 200_000.0,
        "customer" => 150_000.0,
        "supplier" => 10_000.0,
        _ => 0.0, // nation and region do not grow
    }
}

/// A table whose generator and Arrow view are named.
macro_rules! table {
    ($name:expr, $scale:expr, $parts:expr, $generator:ident, $arrow:ident) => {{
        let (scale, parts) = ($scale, $parts);
        let schema = $arrow::new($generator::new(scale, 1, parts)).schema().clone();
        Table::new($name, schema, parts as u64, move |part| {
            let generator = $generator::new(scale, part as i32 + 1, parts);
            Box::new($arrow::new(generator).with_batch_size(BATCH_ROWS))
        })
    }};
}

/// A table by its name, in parts of about `rows_per_part` rows; none for a name that TPC-H lacks.
///
/// `scale` is the scale factor, above 0: at 1 all tables together are about a gigabyte of text.
pub fn table(name: &str, scale: f64, rows_per_part: u64) -> Option<Table> {
    let parts = (rows_at_scale_one(name) * scale / rows_per_part.max(1) as f64).ceil();
    let parts = (parts as i32).max(1);
    Some(match name {
        "lineitem" => table!("lineitem", scale, parts, LineItemGenerator, LineItemArrow),
        "orders" => table!("orders", scale, parts, OrderGenerator, OrderArrow),
        "partsupp" => table!("partsupp", scale, parts, PartSuppGenerator, PartSuppArrow),
        "part" => table!("part", scale, parts, PartGenerator, PartArrow),
        "customer" => table!("customer", scale, parts, CustomerGenerator, CustomerArrow),
        "supplier" => table!("supplier", scale, parts, SupplierGenerator, SupplierArrow),
        "nation" => table!("nation", scale, parts, NationGenerator, NationArrow),
        "region" => table!("region", scale, parts, RegionGenerator, RegionArrow),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use arrow::record_batch::RecordBatch;

    use super::*;

    fn whole(table: &Table) -> RecordBatch {
        let batches: Vec<_> = (0..table.parts).flat_map(|part| table.part(part)).collect();
        concat_batches(&table.schema, &batches).unwrap()
    }

    #[test]
    fn parts_do_not_change_the_rows() {
        for name in NAMES {
            let one = table(name, 0.001, u64::MAX).unwrap();
            let many = table(name, 0.001, 37).unwrap();
            assert_eq!(one.parts, 1);
            let grows = rows_at_scale_one(name) * 0.001 > 37.0;
            assert_eq!(many.parts > 1, grows, "{name}");
            assert_eq!(whole(&one), whole(&many), "{name}");
        }
    }

    #[test]
    fn row_counts_are_those_of_the_benchmark() {
        let rows = |name| whole(&table(name, 0.01, 1_000_000).unwrap()).num_rows();
        assert_eq!(NAMES.map(rows), [60_175, 15_000, 8_000, 2_000, 1_500, 100, 25, 5]);
    }
}
