-- The order in which results are given out, of queries of every shape without a join, is the same
-- for all sizes of epochs. Without a store.
--ordered
--spills 3
--skip grown: without a store a batch does not know where runs ended

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'});

CREATE SINK means WITH (connector = 'file', format = 'csv', path = '${output:-lake}/means');
INSERT INTO means
SELECT window_start, k, count(*) n, sum(v) AS s, avg(v) AS a, min(ts) AS t
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, k;

CREATE SINK having WITH (connector = 'file', format = 'csv', path = '${output:-lake}/having');
INSERT INTO having
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE v > 50
GROUP BY window_end
HAVING count(*) > 1;

CREATE SINK spread WITH (connector = 'file', format = 'csv', path = '${output:-lake}/spread');
INSERT INTO spread
SELECT window_time AS t, k % 2 AS odd, max(v) - min(v) AS spread
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_time, k % 2;

CREATE SINK renamed WITH (connector = 'file', format = 'csv', path = '${output:-lake}/renamed');
INSERT INTO renamed
SELECT w AS s, k, count(DISTINCT v) d, sum(v) FILTER (WHERE v > 9) AS f
FROM (SELECT window_start AS w, k, v
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)))
GROUP BY k, w;

CREATE SINK distincts WITH (connector = 'file', format = 'csv', path = '${output:-lake}/distincts');
INSERT INTO distincts
SELECT DISTINCT window_start, k
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND));

CREATE SINK greatest WITH (connector = 'file', format = 'csv', path = '${output:-lake}/greatest');
INSERT INTO greatest
SELECT window_start, max(n) AS m
FROM (
  SELECT window_start, window_end, k, count(*) n
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end, k)
GROUP BY window_start, window_end;

CREATE SINK hop WITH (connector = 'file', format = 'csv', path = '${output:-lake}/hop');
INSERT INTO hop
SELECT window_start, window_end, sum(v) AS s
FROM HOP(bids, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND)
GROUP BY window_start, window_end;

CREATE SINK cumulate WITH (connector = 'file', format = 'csv', path = '${output:-lake}/cumulate');
INSERT INTO cumulate
SELECT window_start, window_end, sum(v) AS s
FROM CUMULATE(bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND)
GROUP BY window_start, window_end;

CREATE SINK in_windows
  WITH (connector = 'file', format = 'csv', path = '${output:-lake}/in_windows');
INSERT INTO in_windows
SELECT window_start, v * 2 AS p, ts
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE k = 3;

CREATE SINK filtered WITH (connector = 'file', format = 'csv', path = '${output:-lake}/filtered');
INSERT INTO filtered
SELECT v, ts FROM bids WHERE k = 3;

CREATE SINK of_one_type
  WITH (connector = 'file', format = 'csv', path = '${output:-lake}/of_one_type');
INSERT INTO of_one_type
SELECT CASE WHEN v < 50 THEN v ELSE 0.5 END AS p, ts FROM bids;

CREATE SINK of_text WITH (connector = 'file', format = 'csv', path = '${output:-lake}/of_text');
INSERT INTO of_text
SELECT CASE WHEN v < 50 THEN 'low' ELSE CAST(ts AS VARCHAR) END AS p FROM bids;
