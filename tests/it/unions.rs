//! Audits of streams in a UNION, each row by its own watermark, with late rows that a delay lets
//! in.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use crate::support::pipelines::{at, pipeline_on, write};

/// Of `slow`, five seconds behind, the row of second 14 is late for its window; of `fast` those of
/// seconds 8 and 29 are.
fn streams(folder: &Path) -> String {
    let stream = |name: &str, delay: u32, seconds: &[u64]| {
        let rows: String =
            seconds.iter().map(|second| format!("{second},{}\n", at(*second))).collect();
        write(&folder.join(name), "a.csv", &format!("v,ts\n{rows}"));
        format!(
            "CREATE STREAM {name} (v BIGINT, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '{delay}' SECOND)
             WITH (connector = 'file', path = '{0}/{name}', format = 'csv',
               store = '{0}/lake/{name}');\n",
            folder.display()
        )
    };
    let slow = stream("slow", 5, &[3, 12, 9, 25, 14]);
    slow + &stream("fast", 0, &[1, 30, 8, 29])
}

const WINDOWS: &str = "SELECT window_start, window_end, count(*) AS n, sum(v) AS s FROM
    TABLE(TUMBLE(DATA => (SELECT ts, v FROM slow UNION ALL SELECT ts AS t, v FROM fast UNION ALL
      SELECT TIMESTAMP '2026-01-01 00:00:02', 100), TIMECOL => DESCRIPTOR(ts),
      SIZE => INTERVAL '10' SECOND)) GROUP BY window_start, window_end";

/// What was given out is the batch by the watermarks with the delay; RECONCILE lets all rows count.
#[tokio::test]
async fn delays_are_audited_and_reconciled() {
    for (emit, corrected) in [
        ("EMIT AFTER WINDOW CLOSE", 3),
        ("EMIT AFTER WINDOW CLOSE WITH DELAY INTERVAL '10' SECOND", 1),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("lake/out");
        let script = format!(
            "SET thalweg.batch_rows = 2; {} CREATE SINK out WITH (connector = 'delta', path =
             '{}'); INSERT INTO out {WINDOWS} {emit}; AUDIT out; RECONCILE out; AUDIT out;",
            streams(folder.path()),
            path.display()
        );
        let got = pipeline_on(DeviceChoice::Cpu, folder.path(), &script).await.unwrap();
        for audit in [&got[0], &got[2]] {
            assert!(audit.contains(",4,0,0,0,"), "{emit}: {audit}");
        }
        assert_eq!(got[1].lines().count(), corrected, "{emit}: {}", got[1]);
    }
}
