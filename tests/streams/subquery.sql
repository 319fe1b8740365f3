-- EXISTS, IN and their negations over a stream: semi and anti joins by an interval or a window.
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

CREATE SINK exist WITH (connector = 'delta', path = '${output:-lake}/exist');
INSERT INTO exist
SELECT b.k, b.v, b.ts FROM bids b
WHERE b.v > 9 AND EXISTS (SELECT 1 FROM asks a
  WHERE a.k = b.k AND b.ts - a.ts <= INTERVAL '2' SECOND
    AND a.ts - INTERVAL '3' SECOND < b.ts AND a.v > 40);

CREATE SINK not_exist WITH (connector = 'delta', path = '${output:-lake}/not_exist');
INSERT INTO not_exist
SELECT b.k, b.v, b.ts FROM bids b
WHERE NOT EXISTS (SELECT 1 FROM asks a
  WHERE a.k = b.k AND b.ts - a.ts <= INTERVAL '2' SECOND
    AND a.ts - INTERVAL '3' SECOND < b.ts AND a.v > 40);

CREATE SINK exist_or WITH (connector = 'delta', path = '${output:-lake}/exist_or');
INSERT INTO exist_or
SELECT b.k, b.v, b.ts FROM bids b
WHERE b.v > 80 OR EXISTS (SELECT 1 FROM asks a
  WHERE a.k = b.k AND b.ts - a.ts <= INTERVAL '2' SECOND
    AND a.ts - INTERVAL '3' SECOND < b.ts AND a.v > 40);

CREATE SINK not_in WITH (connector = 'delta', path = '${output:-lake}/not_in');
INSERT INTO not_in
SELECT b.k, b.v, b.ts FROM bids b
WHERE b.v % 8 NOT IN (SELECT a.v % 9 FROM asks a
  WHERE a.k = b.k AND b.ts - a.ts <= INTERVAL '2' SECOND
    AND a.ts - INTERVAL '3' SECOND < b.ts);

CREATE SINK in_window WITH (connector = 'delta', path = '${output:-lake}/in_window');
INSERT INTO in_window
SELECT window_end, k, v
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) AS b
WHERE window_end IN (
    SELECT window_end FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND)) AS a
    WHERE a.v > 80)
  AND v > (SELECT max(id) FROM names);
