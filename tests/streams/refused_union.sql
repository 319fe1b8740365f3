-- Unions, subqueries and differences of times that do not run continuously.

CREATE STREAM slow (v BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${slow:-connector = 'file', path = 'tests/streams/inputs/slow'},
  store = '${store:-lake}/slow');

CREATE STREAM fast (v BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '0' SECOND)
WITH (${fast:-connector = 'file', path = 'tests/streams/inputs/fast'},
  store = '${store:-lake}/fast');

CREATE STREAM bare (v BIGINT, ts TIMESTAMP) WITH (connector = 'random', events = 1);

CREATE TABLE t AS SELECT * FROM (VALUES (2), (9)) AS t (x);

CREATE SINK out WITH (connector = 'blackhole');

--fail f.ts - s.ts <= INTERVAL '5' SECOND) cannot run continuously
INSERT INTO out
SELECT s.v FROM slow s JOIN fast f ON f.ts - s.ts <= INTERVAL '5' SECOND;

--fail EXISTS and IN can
INSERT INTO out
SELECT v FROM slow WHERE v > (SELECT avg(v) FROM fast);

--fail bound the distance of their event times
INSERT INTO out
SELECT v FROM slow WHERE v IN (SELECT v FROM fast);

--fail stream bare has no watermark
INSERT INTO out
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT ts, v FROM slow UNION ALL SELECT ts, v FROM bare),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

--fail-unplaced of a stream: cast it
INSERT INTO out
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT ts, v FROM slow UNION ALL SELECT 5, 1),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

--fail windows of rows that no watermark follows
INSERT INTO out
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT ts, v FROM slow UNION ALL SELECT ts, v FROM fast__late),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

--fail-unplaced go by its watermark column
INSERT INTO out
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT ts + INTERVAL '1' SECOND AS ts FROM slow UNION ALL SELECT ts FROM fast),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

--fail-unplaced more than one row
INSERT INTO out
SELECT v > (SELECT x FROM t) AS b FROM slow;
