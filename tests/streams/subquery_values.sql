-- Scalar subqueries over a table beside a stream.
--epoch_rows 1
--spills 1

CREATE STREAM slow (v BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${slow:-connector = 'file', path = 'tests/streams/inputs/slow'},
  store = '${store:-lake}/slow');

CREATE TABLE t AS SELECT * FROM (VALUES (2), (9)) AS t (x);

CREATE SINK scaled WITH (connector = 'delta', path = '${output:-lake}/scaled');
INSERT INTO scaled
SELECT window_end, sum(v * (SELECT min(x) FROM t)) AS s
FROM TABLE(TUMBLE(TABLE slow, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE v > (SELECT x FROM t WHERE x = 9)
GROUP BY window_start, window_end
HAVING count(*) < (SELECT max(x) FROM t);
