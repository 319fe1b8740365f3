-- Streams beside tables, with nothing kept and below windows.
--spills 1

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE TABLE names AS SELECT column1 AS id, column2 AS name
FROM (VALUES (0, 'zero'), (1, 'one'), (2, 'two'));

CREATE TABLE rates AS SELECT column1 AS id, column2 AS rate, CAST(column3 AS TIMESTAMP) AS since
FROM (VALUES (0, 1.5, '2026-01-01T00:00:00'), (0, 2.5, '2026-01-01T00:00:30'),
  (0, 3.5, '2026-01-01T00:01:00'), (1, 9.5, '2026-01-01T00:00:45'));

CREATE SINK named WITH (connector = 'delta', path = '${output:-lake}/named');
INSERT INTO named
SELECT b.k, b.v, n.name FROM bids b LEFT JOIN names n ON b.k = n.id;

CREATE SINK named_windows WITH (connector = 'delta', path = '${output:-lake}/named_windows');
INSERT INTO named_windows
SELECT window_end, name, count(*) AS n, max(rate) AS r
FROM TABLE(TUMBLE(
  DATA => (SELECT b.ts AS t, n.name, r.rate FROM bids b JOIN names n ON b.k = n.id
    ASOF LEFT JOIN rates r ON b.k = r.id AND b.ts >= r.since WHERE b.v > 10),
  TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end, name;
