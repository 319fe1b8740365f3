-- Windows of times far before and after today; floats of other bits that are equal.
--batch_rows 1, 7
--epoch_rows 1
--spills 3

CREATE STREAM s (ts TIMESTAMP, f DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH (${far:-connector = 'file', path = 'tests/streams/inputs/far'},
  store = '${store:-lake}/s');

CREATE SINK hops WITH (connector = 'delta', path = '${output:-lake}/hops');
INSERT INTO hops
SELECT window_start, window_end, count(*) AS n
FROM TABLE(HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '20' SECOND))
GROUP BY window_start, window_end;

CREATE SINK sessions WITH (connector = 'delta', path = '${output:-lake}/sessions');
INSERT INTO sessions
SELECT window_start, f, count(*) AS n
FROM TABLE(SESSION(TABLE s PARTITION BY f, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, f;
