-- Windows that overlap: HOP, whole and in panes, and CUMULATE.
--sides
--spills 3

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'},
  store = '${store:-lake}/bids');

CREATE SINK hop WITH (connector = 'delta', path = '${output:-lake}/hop');
INSERT INTO hop
SELECT window_start, window_end, sum(f) AS s
FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

CREATE SINK panes WITH (connector = 'delta', path = '${output:-lake}/panes');
INSERT INTO panes
SELECT window_start, window_end, k, count(*) AS n, sum(f) AS s, count(DISTINCT v) AS d
FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
WHERE v > 3
GROUP BY window_start, window_end, k;

CREATE SINK panes_end WITH (connector = 'delta', path = '${output:-lake}/panes_end');
INSERT INTO panes_end
SELECT window_start, max(v) AS m
FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND))
GROUP BY window_start;

CREATE SINK cumulate WITH (connector = 'delta', path = '${output:-lake}/cumulate');
INSERT INTO cumulate
SELECT window_start, window_end, max(v) AS m
FROM TABLE(CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
