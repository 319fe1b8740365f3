-- Streams joined by their windows.
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE STREAM asks (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${asks:-connector = 'file', path = 'tests/streams/inputs/asks'},
  store = '${store:-lake}/asks');

CREATE SINK matched WITH (connector = 'delta', path = '${output:-lake}/matched');
INSERT INTO matched
SELECT b.window_end AS bw, b.k AS bk, b.n AS bn, a.window_end AS aw, a.n AS an
FROM (SELECT window_start, window_end, k, count(*) AS n
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, k) b
  JOIN (SELECT window_start, window_end, k, sum(v) AS n
    FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, k) a
  ON b.window_start = a.window_start AND b.window_end = a.window_end AND b.k = a.k;

CREATE SINK either WITH (connector = 'delta', path = '${output:-lake}/either');
INSERT INTO either
SELECT b.window_end AS bw, b.k AS bk, b.n AS bn, a.window_end AS aw, a.n AS an
FROM (SELECT window_start, window_end, k, count(*) AS n
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, k) b
  FULL JOIN (SELECT window_start, window_end, k, sum(v) AS n
    FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, k) a
  ON b.window_start = a.window_start AND b.window_end = a.window_end AND b.k = a.k;
