-- Rows by their place within a window: the first two groups, the first row of each key.
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE SINK top WITH (connector = 'delta', path = '${output:-lake}/top');
INSERT INTO top
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n DESC, k) AS r
  FROM (
    SELECT window_start, window_end, k, count(*) AS n
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, k))
WHERE r <= 2;

CREATE SINK dedup WITH (connector = 'delta', path = '${output:-lake}/dedup');
INSERT INTO dedup
SELECT k, v, ts FROM (
  SELECT k, v, ts,
    ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts, v, f) AS r
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)))
WHERE r = 1;
