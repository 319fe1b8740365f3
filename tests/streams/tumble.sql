-- Aggregates of tumbling windows: sums, means, distinct values, HAVING; windows over windows.
--sides
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE SINK tumble WITH (connector = 'delta', path = '${output:-lake}/tumble');
INSERT INTO tumble
SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, avg(f) AS a,
  count(DISTINCT v) AS d
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, k
HAVING count(*) > 1;

CREATE SINK distincts WITH (connector = 'delta', path = '${output:-lake}/distincts');
INSERT INTO distincts
SELECT DISTINCT window_end, k
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND));

CREATE SINK nested WITH (connector = 'delta', path = '${output:-lake}/nested');
INSERT INTO nested
SELECT window_end, max(n) AS m
FROM TABLE(TUMBLE(
  DATA => (SELECT window_time AS t, n FROM (
    SELECT window_time, k, count(*) AS n
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, window_time, k)),
  TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '30' SECOND))
GROUP BY window_end;
