-- A mobile network: what each cell carries, against what it carried at this hour before.
--
--   thalweg run examples/telecom.sql --until-end
--   thalweg run examples/telecom.sql --until-end --set traces=FILE --set split=2019-12-01
--
-- The columns of the traces are those of a public 5G data set (Parquet): "Timestamp", "CellID" and
-- "DL_bitrate", the rate of download in kbit/s. What is before `split` is history, what is after it
-- is the feed. All it writes is in telecom-data/; a second run finds it there and writes nothing
-- twice.

-- Ten cells for eight days, by a fixed arithmetic: four samples an hour of the first seven days,
-- one a minute of the last. More is carried by day. On the last day cell 4 breaks down from 10:00
-- to 10:40, cell 7 is flooded from 15:00 to 15:30, and cell 9 is not heard from 12:00 to 13:00.
COPY (
  SELECT to_timestamp_seconds(1574640000 + second) AS "Timestamp", cell AS "CellID",
         CASE WHEN cell = '4' AND second BETWEEN 640800 AND 643199 THEN second % 40
              WHEN cell = '7' AND second BETWEEN 658800 AND 660599 THEN 90000
              ELSE 8000 + CAST(cell AS BIGINT) * 1000 + second / 3600 % 24 * 400
                + (second / 60 * 7919 + CAST(cell AS BIGINT) * 104729) % 2003 END AS "DL_bitrate"
  FROM (SELECT value * 900 AS second FROM generate_series(0, 671)
        UNION ALL SELECT value * 60 FROM generate_series(10080, 11519))
  CROSS JOIN (SELECT CAST(value AS VARCHAR) AS cell FROM generate_series(1, 10))
  WHERE cell <> '9' OR second NOT BETWEEN 648000 AND 651599
) TO 'telecom-data/traces.parquet' STORED AS PARQUET;

CREATE VIEW samples AS
  SELECT CAST("Timestamp" AS TIMESTAMP) AS ts, "CellID" AS cell,
         CAST("DL_bitrate" AS BIGINT) AS rate,
         CAST(to_unixtime("Timestamp") AS BIGINT) AS second
  FROM '${traces:-telecom-data/traces.parquet}' WHERE "CellID" IS NOT NULL;

-- Capacity: what each cell carried by hour of the day.
COPY (
  SELECT cell, CAST(EXTRACT(HOUR FROM ts) AS BIGINT) AS hour, count(*) AS samples,
         avg(rate) AS mean, stddev(rate) AS spread, max(rate) AS peak
  FROM samples WHERE ts < '${split:-2019-12-02}' GROUP BY cell, EXTRACT(HOUR FROM ts)
  ORDER BY cell, hour
) TO 'telecom-data/capacity.parquet' STORED AS PARQUET;

-- The feed: up to a minute out of order, and of each cell a few samples ten minutes late.
COPY (
  SELECT ts, cell, rate FROM samples WHERE ts >= '${split:-2019-12-02}'
  ORDER BY second + second * 7 % 61 + CASE WHEN second % 14400 = 3540 THEN 720 ELSE 0 END,
    cell, rate
) TO 'telecom-data/feed/1.csv' STORED AS CSV;

CREATE STREAM feed (
  ts TIMESTAMP, cell VARCHAR, rate BIGINT, WATERMARK FOR ts AS ts - INTERVAL '90' SECOND
) WITH (
  connector = 'file', path = 'telecom-data/feed', format = 'csv', store = 'telecom-data/history'
);
CREATE EXTERNAL TABLE capacity STORED AS PARQUET LOCATION 'telecom-data/capacity.parquet';

CREATE SINK anomalies WITH (connector = 'delta', path = 'telecom-data/anomalies');
CREATE SINK carried WITH (connector = 'delta', path = 'telecom-data/carried');
CREATE SINK busiest WITH (connector = 'delta', path = 'telecom-data/busiest');
CREATE SINK silent WITH (connector = 'delta', path = 'telecom-data/silent');
CREATE SINK load WITH (connector = 'delta', path = 'telecom-data/load');

-- Ten minutes of a cell whose mean is more than four deviations off that of the same hour before.
INSERT INTO anomalies
  SELECT w.window_start, w.window_end, w.cell, w.n, w.mean, c.mean AS usual,
         (w.mean - c.mean) / c.spread AS z
  FROM (SELECT window_start, window_end, cell, count(*) AS n, avg(rate) AS mean
        FROM TABLE(TUMBLE(TABLE feed, DESCRIPTOR(ts), INTERVAL '10' MINUTE))
        GROUP BY window_start, window_end, cell) AS w
  JOIN capacity AS c ON w.cell = c.cell AND EXTRACT(HOUR FROM w.window_start) = c.hour
  WHERE c.spread > 0 AND abs(w.mean - c.mean) > 4 * c.spread;

-- What each cell carried in each hour.
INSERT INTO carried
  SELECT window_start, window_end, cell, count(*) AS n, sum(rate) AS total, max(rate) AS peak
  FROM TABLE(TUMBLE(TABLE feed, DESCRIPTOR(ts), INTERVAL '1' HOUR))
  GROUP BY window_start, window_end, cell;

-- The three busiest cells of each hour.
INSERT INTO busiest
  SELECT window_start, window_end, place, cell, total
  FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end
          ORDER BY total DESC, cell) AS place
        FROM (SELECT window_start, window_end, cell, sum(rate) AS total
              FROM TABLE(TUMBLE(TABLE feed, DESCRIPTOR(ts), INTERVAL '1' HOUR))
              GROUP BY window_start, window_end, cell))
  WHERE place <= 3;

-- Runs of samples of a cell without a quarter of an hour between them: then it is silent.
INSERT INTO silent
  SELECT window_start AS since, window_end AS until, cell, count(*) AS n
  FROM TABLE(SESSION(TABLE feed PARTITION BY cell, DESCRIPTOR(ts), INTERVAL '15' MINUTE))
  GROUP BY window_start, window_end, cell;

-- The load of each cell in the current hour, always up to date.
INSERT INTO load
  SELECT window_start AS hour, cell, avg(rate) AS mean, max(ts) AS last
  FROM TABLE(TUMBLE(TABLE feed, DESCRIPTOR(ts), INTERVAL '1' HOUR))
  GROUP BY window_start, cell
  EMIT ON UPDATE;

-- What follows runs when the feed has come to its end.
CREATE EXTERNAL TABLE found STORED AS DELTA LOCATION 'telecom-data/anomalies';
CREATE EXTERNAL TABLE hours STORED AS DELTA LOCATION 'telecom-data/carried';
CREATE EXTERNAL TABLE top STORED AS DELTA LOCATION 'telecom-data/busiest';
CREATE EXTERNAL TABLE runs STORED AS DELTA LOCATION 'telecom-data/silent';
CREATE EXTERNAL TABLE now STORED AS DELTA LOCATION 'telecom-data/load';

PRINT 'The feed has ended. Ten minutes of a cell that are far off the same hour of
the days before, z in standard deviations (of the cells made here 4 breaks down and
7 is flooded):';
SELECT window_start, cell, n, round(mean) AS mean, round(usual) AS usual, round(z, 1) AS z
FROM found ORDER BY window_start, cell LIMIT 10;

PRINT 'How often each cell was the busiest of an hour, or among the three busiest:';
SELECT cell, count(*) FILTER (WHERE place = 1) AS first, count(*) AS among_three
FROM top GROUP BY cell ORDER BY among_three DESC, cell LIMIT 5;

PRINT 'Silences of a quarter of an hour or more: when the cell was heard last, and
when again:';
SELECT cell, until - INTERVAL '15' MINUTE AS heard_last, next AS heard_again
FROM (SELECT cell, until, lead(since) OVER (PARTITION BY cell ORDER BY since) AS next FROM runs)
WHERE next IS NOT NULL ORDER BY heard_last, cell LIMIT 5;

PRINT 'The last hour of each cell against the most that it carried before, history
and live in one query:';
SELECT n.cell, n.hour, round(n.mean) AS mean, c.peak AS capacity,
       round(100 * n.mean / c.peak) AS percent
FROM now AS n JOIN capacity AS c ON n.cell = c.cell AND EXTRACT(HOUR FROM n.hour) = c.hour
ORDER BY n.hour DESC, percent DESC, n.cell LIMIT 5;

PRINT 'Did the stream give out what a batch over its history gives? All hours are
equal where missing, unexpected and different are 0:';
AUDIT carried;

PRINT 'All samples are stored; those that came late are not in the hours:';
SELECT (SELECT count(*) FROM feed) AS samples, (SELECT sum(n) FROM hours) AS in_hours,
       (SELECT count(*) FROM feed__late) AS late;

PRINT 'Next: the same for traces of your own, --set traces=FILE --set split=DAY. The
busiest hours:
  thalweg sql -c "SELECT * FROM ''telecom-data/carried'' ORDER BY total DESC LIMIT 5"';
