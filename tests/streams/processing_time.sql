-- Windows by the time at which rows are processed, which the store keeps.
--skip golden: an hour may end during a run, and its window with it
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE SINK processed WITH (connector = 'delta', path = '${output:-lake}/processed');
INSERT INTO processed
SELECT k, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT k, PROCTIME() AS p FROM bids),
  TIMECOL => DESCRIPTOR(p), SIZE => INTERVAL '1' HOUR))
GROUP BY window_start, window_end, k;
