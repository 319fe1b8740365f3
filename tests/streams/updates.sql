-- Groups without windows, which are given out again with each change, or with each hour of the run.
--batch_rows 100
--skip golden: thousands of rows
--skip grown: the source is one file
--epoch_rows 300

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

CREATE SINK on_update WITH (connector = 'delta', path = '${output:-lake}/on_update');
INSERT INTO on_update
SELECT v % 900 AS g, k, count(*) AS n, sum(v) AS s
FROM s
GROUP BY v % 900, k
EMIT ON UPDATE;

CREATE SINK periodic WITH (connector = 'delta', path = '${output:-lake}/periodic');
INSERT INTO periodic
SELECT v % 900 AS g, k, count(*) AS n, sum(v) AS s
FROM s
GROUP BY v % 900, k
EMIT PERIODIC INTERVAL '1' HOUR;
