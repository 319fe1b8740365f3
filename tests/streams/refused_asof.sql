-- As-of joins that do not run continuously.

CREATE STREAM orders (id BIGINT, currency VARCHAR, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${orders:-connector = 'file', path = 'tests/streams/inputs/orders'},
  store = '${store:-lake}/orders');

CREATE STREAM rates (rate BIGINT, currency VARCHAR, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${prices:-connector = 'file', path = 'tests/streams/inputs/prices'},
  store = '${store:-lake}/rates');

CREATE TABLE static AS
SELECT 'EUR' AS currency, 7 AS rate, TIMESTAMP '2026-01-01' AS since;

CREATE SINK out WITH (connector = 'blackhole');

--fail put the stream left, or leave it to a batch query
INSERT INTO out
SELECT r.rate
FROM static s ASOF JOIN rates r ON s.currency = r.currency AND s.since >= r.ts;

--fail cannot run continuously: a row is final when the watermark has passed its time
INSERT INTO out
SELECT r.rate
FROM orders o ASOF JOIN rates r ON o.currency = r.currency AND o.id >= r.rate;

--fail an as-of join of streams by o.p
INSERT INTO out
SELECT o.id
FROM (SELECT id, currency, PROCTIME() AS p FROM orders) o
JOIN rates FOR SYSTEM_TIME AS OF o.p AS r ON o.currency = r.currency;

--fail EMIT ON UPDATE
INSERT INTO out
SELECT o.id, r.rate
FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
  ON o.currency = r.currency
EMIT ON UPDATE;

--fail-unplaced by the time of its WATERMARK, and there is none on the right
INSERT INTO out
SELECT o.id
FROM orders o JOIN static FOR SYSTEM_TIME AS OF o.ts AS s ON o.currency = s.currency;
