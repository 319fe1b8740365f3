//! `datasets/` is what `thalweg gen samples` makes.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use super::support::{self, files};

/// Text is the same to the byte, Parquet by its rows: another release of the crate that writes it
/// may place them otherwise.
#[tokio::test]
async fn they_are_made_again_as_they_are() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    let output = command.args(["gen", "samples", "-o"]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let made = files(folder.path());
    let there = files(Path::new("datasets"));
    assert_eq!(there.len(), made.len() + 1, "{there:?} beside README.md");
    let mut bytes = 0;
    for made in made {
        let name = made.strip_prefix(folder.path()).unwrap();
        let kept = Path::new("datasets").join(name);
        bytes += kept.metadata().unwrap().len();
        match name.extension().and_then(|end| end.to_str()) {
            Some("parquet") => {
                let one = format!("SELECT * FROM '{}'", made.display());
                let other = format!("SELECT * FROM '{}'", kept.display());
                let rows = support::rows(&engine, &one).await.rows;
                assert!(!rows.is_empty());
                assert_eq!(rows, support::rows(&engine, &other).await.rows, "{}", name.display());
            }
            // The log tells the sizes of its files.
            Some(_) if name.starts_with("products") => {}
            _ => assert_eq!(std::fs::read(&made).unwrap(), std::fs::read(&kept).unwrap()),
        }
    }
    assert!(bytes < 700_000, "{bytes} bytes");
    let products = "CREATE EXTERNAL TABLE products STORED AS DELTA LOCATION 'datasets/products'";
    support::run(&engine, products).await.unwrap();
    let dearer = "SELECT count(*) FROM products p JOIN products VERSION AS OF 0 b USING (product)
                  WHERE p.price > b.price";
    let rows = support::rows(&engine, dearer).await.rows;
    let count: u64 = rows[0][0].parse().unwrap();
    assert!((40..90).contains(&count), "{count}");
}
