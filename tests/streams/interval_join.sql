-- Streams joined by an interval of their times, inner, outer, semi and anti.

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE STREAM asks (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${asks:-connector = 'file', path = 'tests/streams/inputs/asks'},
  store = '${store:-lake}/asks');

CREATE SINK inside WITH (connector = 'delta', path = '${output:-lake}/inside');
INSERT INTO inside
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.ts AS ats
FROM bids b JOIN asks a
  ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND;

CREATE SINK leftmost WITH (connector = 'delta', path = '${output:-lake}/leftmost');
INSERT INTO leftmost
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.ts AS ats
FROM bids b LEFT JOIN asks a
  ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND;

CREATE SINK both_sides WITH (connector = 'delta', path = '${output:-lake}/both_sides');
INSERT INTO both_sides
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.ts AS ats
FROM bids b FULL JOIN asks a
  ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND;

CREATE SINK semi WITH (connector = 'delta', path = '${output:-lake}/semi');
INSERT INTO semi
SELECT b.k, b.v, b.ts
FROM bids b LEFT SEMI JOIN asks a
  ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND;

CREATE SINK anti WITH (connector = 'delta', path = '${output:-lake}/anti');
INSERT INTO anti
SELECT b.k, b.v, b.ts
FROM bids b LEFT ANTI JOIN asks a
  ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND;

CREATE SINK comma WITH (connector = 'delta', path = '${output:-lake}/comma');
INSERT INTO comma
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.ts AS ats
FROM bids b, asks a
WHERE b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND
  AND b.v > a.v;
