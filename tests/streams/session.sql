-- Sessions by key, which end after three seconds without a row.

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE SINK sessions WITH (connector = 'delta', path = '${output:-lake}/sessions');
INSERT INTO sessions
SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s
FROM TABLE(SESSION(TABLE bids PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND))
GROUP BY window_start, window_end, k;
