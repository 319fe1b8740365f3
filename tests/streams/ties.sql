-- Rows of equal keys: what the query leaves open goes by the log.
--spills 1

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE TABLE names AS SELECT column1 AS id, column2 AS name
FROM (VALUES (0, 'zero'), (1, 'one'), (2, 'two'));

CREATE SINK rows_by_row_number
  WITH (connector = 'delta', path = '${output:-lake}/rows_by_row_number');
INSERT INTO rows_by_row_number
SELECT v, f, ts, r, last_v, all_v, rank FROM (
  SELECT *, ROW_NUMBER() OVER w AS r, lag(v) OVER w AS last_v,
    sum(v) OVER (PARTITION BY window_start, window_end, k ORDER BY ts ROWS UNBOUNDED PRECEDING)
      AS all_v,
    rank() OVER w AS rank
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  WINDOW w AS (PARTITION BY window_start, window_end, k ORDER BY ts))
WHERE r <= 3;

CREATE SINK peers WITH (connector = 'delta', path = '${output:-lake}/peers');
INSERT INTO peers
SELECT v, f, ts, window_end, a, b FROM (
  SELECT *, last_value(v) OVER (PARTITION BY window_end ORDER BY k) AS a,
    first_value(f) OVER (PARTITION BY window_end) AS b
  FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)));

CREATE SINK aggregates WITH (connector = 'delta', path = '${output:-lake}/aggregates');
INSERT INTO aggregates
SELECT window_end, k, string_agg(CAST(v AS VARCHAR), '-' ORDER BY ts) AS a,
  string_agg(CAST(v AS VARCHAR), '-') AS b,
  array_to_string(array_agg(f ORDER BY v % 3), '-') AS c, first_value(f) AS d, last_value(v) AS e,
  nth_value(v, 2 ORDER BY v % 2) AS g, any_value(v) AS h
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, k;

CREATE SINK joined WITH (connector = 'delta', path = '${output:-lake}/joined');
INSERT INTO joined
SELECT window_end, v, name FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end, k ORDER BY t) AS r
  FROM TABLE(TUMBLE(
    DATA => (SELECT b.ts AS t, b.k, b.v, n.name FROM bids b LEFT JOIN names n ON b.k >= n.id),
    TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '10' SECOND)))
WHERE r <= 2;
