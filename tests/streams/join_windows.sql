-- Windows over the rows of a join, and a join of a union.
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE STREAM asks (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${asks:-connector = 'file', path = 'tests/streams/inputs/asks'},
  store = '${store:-lake}/asks');

CREATE SINK after_join WITH (connector = 'delta', path = '${output:-lake}/after_join');
INSERT INTO after_join
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT a.ts AS t FROM bids b JOIN asks a
    ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND),
  TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '10' SECOND))
GROUP BY window_end;

CREATE SINK sessions_after_join
  WITH (connector = 'delta', path = '${output:-lake}/sessions_after_join');
INSERT INTO sessions_after_join
SELECT window_start, window_end, count(*) AS n
FROM TABLE(SESSION(
  DATA => (SELECT b.ts AS t FROM bids b JOIN asks a
    ON a.ts - b.ts BETWEEN INTERVAL '0' SECOND AND INTERVAL '15' SECOND
      AND a.k = b.k AND a.v % 20 = b.v % 20),
  TIMECOL => DESCRIPTOR(t), GAP => INTERVAL '1' SECOND))
GROUP BY window_start, window_end;

CREATE SINK union_joined WITH (connector = 'delta', path = '${output:-lake}/union_joined');
INSERT INTO union_joined
SELECT u.k, u.v, u.f, a.v AS av
FROM (SELECT ts, k, v, f FROM bids WHERE v < 90 UNION ALL SELECT ts, k, v, f FROM asks) AS u
LEFT JOIN asks a
  ON u.k = a.k AND a.ts - u.ts BETWEEN INTERVAL '-1' SECOND AND INTERVAL '2' SECOND;
