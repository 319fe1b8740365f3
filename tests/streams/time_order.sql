-- ORDER BY the event time: rows come out by it.
--ordered
--spills 3
--skip batch: it has the late rows too
--skip partitions: only the batch would tell what is right

CREATE STREAM bids (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
WITH (${bids:-connector = 'file', path = 'tests/streams/inputs/bids'});

CREATE SINK by_time WITH (connector = 'file', format = 'csv', path = '${output:-lake}/by_time');
INSERT INTO by_time
SELECT ts, k, v FROM bids ORDER BY ts;
