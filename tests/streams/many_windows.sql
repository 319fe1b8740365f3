-- Windows with few rows and with many, of two seconds, all of an hour open at once: one row in each
-- of most, hundreds in some. Some rows have no key.
--batch_rows 90
--skip golden: thousands of rows
--skip grown: the source is one file
--epoch_rows 300
--spills 3

COPY (
  SELECT k, v, to_timestamp_seconds(1767225600 + second) AS ts FROM (
    SELECT value AS place, 0 AS nth, value % 5 AS k, value AS v, value * 2 + value % 2 AS second
    FROM generate_series(0, 1499)
    UNION ALL
    SELECT p.value, m.value + 1, CASE WHEN m.value % 50 > 0 THEN m.value % 7 END, m.value,
      (p.value - CASE m.value % 3 WHEN 0 THEN 0 WHEN 1 THEN 1 ELSE 298 END) * 2 + m.value % 2
    FROM generate_series(299, 1499, 300) AS p CROSS JOIN generate_series(0, 399) AS m)
  ORDER BY place, nth
) TO '${store:-lake}/rows.csv' STORED AS CSV;

CREATE STREAM s (k BIGINT, v BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '1' HOUR)
WITH (connector = 'file', path = '${store:-lake}/rows.csv');

CREATE SINK by_key WITH (connector = 'delta', path = '${output:-lake}/by_key');
INSERT INTO by_key
SELECT window_start, k, count(*) AS n, sum(v) FILTER (WHERE v > 100) AS s, max(v) AS m
FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY window_start, window_end, k;

CREATE SINK of_all WITH (connector = 'delta', path = '${output:-lake}/of_all');
INSERT INTO of_all
SELECT window_end, min(v) AS m, count(k) AS n
FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY window_start, window_end;
