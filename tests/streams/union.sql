-- Streams in a UNION, with one another and with rows that are in no log, below windows.
--sides
--spills 1

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE STREAM asks (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${asks:-connector = 'file', path = 'tests/streams/inputs/asks'},
  store = '${store:-lake}/asks');

CREATE TABLE names AS SELECT column1 AS id, column2 AS name
FROM (VALUES (0, 'zero'), (1, 'one'), (2, 'two'));

CREATE TABLE rates AS SELECT column1 AS id, column2 AS rate, CAST(column3 AS TIMESTAMP) AS since
FROM (VALUES (0, 1.5, '2026-01-01T00:00:00'), (0, 2.5, '2026-01-01T00:00:30'),
  (0, 3.5, '2026-01-01T00:01:00'), (1, 9.5, '2026-01-01T00:00:45'));

CREATE SINK groups WITH (connector = 'delta', path = '${output:-lake}/groups');
INSERT INTO groups
SELECT window_start, window_end, k, count(*) AS n, count(DISTINCT v) AS d, sum(f) AS s
FROM (
  SELECT window_start, window_end, k, v, f
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  UNION ALL
  SELECT window_start, window_end, k, v + 1, f
  FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND)))
GROUP BY window_start, window_end, k;

CREATE SINK panes WITH (connector = 'delta', path = '${output:-lake}/panes');
INSERT INTO panes
SELECT window_end, k, count(*) AS n, sum(v) AS s
FROM TABLE(HOP(
  DATA => (SELECT ts, k, v, f FROM bids WHERE v < 90 UNION ALL SELECT ts, k, v, f FROM asks),
  TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '2' SECOND, SIZE => INTERVAL '6' SECOND))
GROUP BY window_start, window_end, k;

CREATE SINK sessions WITH (connector = 'delta', path = '${output:-lake}/sessions');
INSERT INTO sessions
SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s
FROM TABLE(SESSION(
  DATA => (SELECT ts, k, v FROM bids UNION ALL SELECT ts, k, v FROM asks
    UNION ALL SELECT ts AS t, k, v FROM bids WHERE v > 70) PARTITION BY k,
  TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '2' SECOND))
GROUP BY window_start, window_end, k;

CREATE SINK everything WITH (connector = 'delta', path = '${output:-lake}/everything');
INSERT INTO everything
SELECT window_start, window_end, sum(n) AS n
FROM TABLE(TUMBLE(
  DATA => (
    SELECT ts, v AS n FROM bids
    UNION ALL
    SELECT window_time, n FROM (
      SELECT window_time, count(*) AS n
      FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
      GROUP BY window_start, window_end, window_time)
    UNION ALL
    SELECT since, id FROM rates),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '4' SECOND))
GROUP BY window_start, window_end;

CREATE SINK with_a_table WITH (connector = 'delta', path = '${output:-lake}/with_a_table');
INSERT INTO with_a_table
SELECT k, v FROM bids WHERE v > 95 UNION ALL SELECT id, 0 FROM names;

CREATE SINK plain WITH (connector = 'delta', path = '${output:-lake}/plain');
INSERT INTO plain
SELECT k, v, ts FROM bids WHERE v > 50 UNION ALL SELECT k, v, ts FROM asks;
