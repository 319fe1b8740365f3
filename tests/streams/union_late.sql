-- Each row of a UNION goes by its own watermark. Of slow, five seconds behind, the row of second 14
-- is late for its window; of fast those of seconds 8 and 29 are. A delay lets late rows in.
--epoch_rows 1
--spills 3

CREATE STREAM slow (v BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${slow:-connector = 'file', path = 'tests/streams/inputs/slow'},
  store = '${store:-lake}/slow');

CREATE STREAM fast (v BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '0' SECOND)
WITH (${fast:-connector = 'file', path = 'tests/streams/inputs/fast'},
  store = '${store:-lake}/fast');

CREATE SINK in_time WITH (connector = 'delta', path = '${output:-lake}/in_time');
INSERT INTO in_time
SELECT window_start, window_end, count(*) AS n, sum(v) AS s
FROM TABLE(TUMBLE(
  DATA => (SELECT ts, v FROM slow UNION ALL SELECT ts AS t, v FROM fast
    UNION ALL SELECT TIMESTAMP '2026-01-01 00:00:02', 100),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end
EMIT AFTER WINDOW CLOSE;

CREATE SINK delayed WITH (connector = 'delta', path = '${output:-lake}/delayed');
INSERT INTO delayed
SELECT window_start, window_end, count(*) AS n, sum(v) AS s
FROM TABLE(TUMBLE(
  DATA => (SELECT ts, v FROM slow UNION ALL SELECT ts AS t, v FROM fast
    UNION ALL SELECT TIMESTAMP '2026-01-01 00:00:02', 100),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end
EMIT AFTER WINDOW CLOSE WITH DELAY INTERVAL '10' SECOND;
