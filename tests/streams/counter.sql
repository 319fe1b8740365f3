-- Rows of the `counter` connector.

CREATE STREAM counts (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
WITH (connector = 'counter', events = 1000, store = '${store:-lake}/counts');

CREATE SINK minutes WITH (connector = 'delta', path = '${output:-lake}/minutes');
INSERT INTO minutes
SELECT window_start, count(*) AS c, sum(n) AS s
FROM TABLE(TUMBLE(TABLE counts, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end;
