-- As-of joins of streams and tables, one behind another.
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

CREATE SINK twice WITH (connector = 'delta', path = '${output:-lake}/twice');
INSERT INTO twice
SELECT b.k, b.v, b.ts, a.f, r.rate, c.v AS cv
FROM bids b
ASOF JOIN asks a MATCH_CONDITION (b.ts >= a.ts) ON a.k = b.k
ASOF JOIN rates r MATCH_CONDITION (b.ts >= r.since) ON r.id = b.k
LEFT JOIN bids FOR SYSTEM_TIME AS OF b.ts AS c ON c.v = b.v;

CREATE SINK table_first WITH (connector = 'delta', path = '${output:-lake}/table_first');
INSERT INTO table_first
SELECT b.k, b.v, b.ts, r.rate, a.f, n.name
FROM names n JOIN bids b ON b.k = n.id
ASOF LEFT JOIN rates r ON r.id = b.k AND b.ts >= r.since
JOIN asks FOR SYSTEM_TIME AS OF b.ts AS a ON a.k = b.k;

CREATE SINK table_only WITH (connector = 'delta', path = '${output:-lake}/table_only');
INSERT INTO table_only
SELECT b.k, b.v, b.ts, r.rate
FROM bids b ASOF JOIN rates r ON b.k = r.id AND b.ts >= r.since;
