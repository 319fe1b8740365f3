-- As-of joins of streams: with what was in force at the time of each row.
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE STREAM asks (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${asks:-connector = 'file', path = 'tests/streams/inputs/asks'},
  store = '${store:-lake}/asks');

CREATE SINK system_time WITH (connector = 'delta', path = '${output:-lake}/system_time');
INSERT INTO system_time
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.f AS af, a.ts AS ats
FROM bids AS b JOIN asks FOR SYSTEM_TIME AS OF b.ts AS a ON b.k = a.k;

CREATE SINK before WITH (connector = 'delta', path = '${output:-lake}/before');
INSERT INTO before
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.f AS af, a.ts AS ats
FROM bids b ASOF JOIN asks a MATCH_CONDITION (b.ts > a.ts) ON b.k = a.k AND b.v % 3 = a.v % 3;

CREATE SINK lagged WITH (connector = 'delta', path = '${output:-lake}/lagged');
INSERT INTO lagged
SELECT b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.f AS af, a.ts AS ats
FROM (SELECT * FROM bids WHERE v > 20) b ASOF LEFT JOIN asks a
  ON b.ts - INTERVAL '4' SECOND >= a.ts;

CREATE SINK of_windows WITH (connector = 'delta', path = '${output:-lake}/of_windows');
INSERT INTO of_windows
SELECT b.k, b.v, b.ts, a.t, a.n
FROM bids b ASOF LEFT JOIN (
    SELECT window_end AS t, k, sum(v) AS n
    FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '2' SECOND))
    GROUP BY window_start, window_end, k) a
  ON b.k = a.k AND b.ts >= a.t;

CREATE SINK then_windows WITH (connector = 'delta', path = '${output:-lake}/then_windows');
INSERT INTO then_windows
SELECT window_end, count(*) AS n, sum(av) AS s
FROM TABLE(TUMBLE(
  DATA => (SELECT b.ts AS t, a.v AS av
    FROM bids b ASOF JOIN asks a MATCH_CONDITION (b.ts >= a.ts) ON a.k = b.k),
  TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '10' SECOND))
GROUP BY window_end;
