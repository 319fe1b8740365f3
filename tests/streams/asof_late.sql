-- As-of joins leave late rows of both sides out: order 4 and the rate of 99 are late. Of the rates
-- of second 10 the later one holds.
--epoch_rows 1
--spills 1

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

CREATE SINK left_rows WITH (connector = 'delta', path = '${output:-lake}/left_rows');
INSERT INTO left_rows
SELECT o.id, r.rate
FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
  ON o.currency = r.currency;

CREATE SINK matched WITH (connector = 'delta', path = '${output:-lake}/matched');
INSERT INTO matched
SELECT o.id, r.rate
FROM orders AS o JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
  ON o.currency = r.currency;

CREATE SINK after_a_join WITH (connector = 'delta', path = '${output:-lake}/after_a_join');
INSERT INTO after_a_join
SELECT o.id, r.rate
FROM orders AS o JOIN (SELECT 1 AS x) y ON y.x < o.id + 9
LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
  ON o.currency = r.currency;

CREATE SINK before_a_join WITH (connector = 'delta', path = '${output:-lake}/before_a_join');
INSERT INTO before_a_join
SELECT o.id, r.rate
FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
  ON o.currency = r.currency
JOIN static s ON s.currency = o.currency;

CREATE SINK match_condition WITH (connector = 'delta', path = '${output:-lake}/match_condition');
INSERT INTO match_condition
SELECT o.id, r.rate
FROM orders o ASOF JOIN rates r MATCH_CONDITION (o.ts >= r.ts) ON o.currency = r.currency;

CREATE SINK of_a_query WITH (connector = 'delta', path = '${output:-lake}/of_a_query');
INSERT INTO of_a_query
SELECT o.id, r.rate
FROM orders o ASOF JOIN (SELECT rate, currency AS c, ts AS t FROM rates) r
  ON o.currency = r.c AND o.ts >= r.t;
