-- Late rows of sessions, five seconds behind. At 20 s of b the watermark is 15: of a the row of 9 s
-- is late, that of 12 s begins a session, that of 4 s is late as its session is over.
--epoch_rows 1

CREATE STREAM visits (who VARCHAR, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${visits:-connector = 'file', path = 'tests/streams/inputs/visits'},
  store = '${store:-lake}/visits');

CREATE SINK sessions WITH (connector = 'delta', path = '${output:-lake}/sessions');
INSERT INTO sessions
SELECT window_start, window_end, who, count(*) AS n
FROM SESSION(TABLE visits PARTITION BY who, DESCRIPTOR(ts), INTERVAL '4' SECOND)
GROUP BY window_start, window_end, who
EMIT AFTER WINDOW CLOSE;
