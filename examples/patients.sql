-- Patients: vital signs against each patient's own record, and signals that are missing.
--
--   thalweg run examples/patients.sql --until-end
--   thalweg run examples/patients.sql --until-end --set events=FILE    # a Parquet file of your own
--
-- The columns of the events are those of the PhysioNet 2012 data set of stays in intensive care:
-- record, line, minute of the stay, parameter, value. All it writes is in patients-data/; a second
-- run finds it there and writes nothing twice.

-- Thirty stays of two days, by a fixed arithmetic: heart rate each 20 minutes, blood pressure each
-- 30. Every seventh heart races in the hours 20 and 21; every eleventh monitor is off for six.
COPY (
  SELECT record_id, value AS seq, minute, parameter,
         CASE WHEN parameter = 'HR' AND record_id % 7 = 0 AND minute / 60 IN (20, 21) THEN 165.0
              ELSE base + record_id % 25 + (value * 7919 + record_id) % 13 END AS value
  FROM (SELECT 132500 + record AS record_id, value, value * 20 AS minute, 'HR' AS parameter,
          65.0 AS base
        FROM generate_series(0, 143) CROSS JOIN (SELECT value AS record FROM generate_series(1, 30))
        UNION ALL
        SELECT 132500 + record, value, value * 30, 'SysABP', 105.0
        FROM generate_series(0, 95) CROSS JOIN (SELECT value AS record FROM generate_series(1, 30)))
  WHERE record_id % 11 > 0 OR minute NOT BETWEEN 1800 AND 2160
  ORDER BY record_id, minute, parameter
) TO 'patients-data/events.parquet' STORED AS PARQUET;

-- Stays begin an hour apart. Of each, the parameters that are watched.
CREATE VIEW stays AS
  SELECT CAST(record_id AS BIGINT) AS patient, parameter, value, CAST(seq AS BIGINT) AS seq,
         1767225600 + CAST(record_id AS BIGINT) % 24 * 3600 + CAST(minute AS BIGINT) * 60 AS second
  FROM '${events:-patients-data/events.parquet}'
  WHERE parameter IN ('HR', 'SysABP') AND value > 0;

-- The feed as it comes: up to six minutes out of order, some values two and a half hours late.
COPY (
  SELECT patient, parameter, value, to_timestamp_seconds(second) AS ts
  FROM stays
  ORDER BY second + patient * 11 % 360 + CASE WHEN (seq + patient) % 150 = 149 THEN 9000 ELSE 0 END,
    patient, parameter, seq
) TO 'patients-data/vitals/1.csv' STORED AS CSV;

-- The record: when a patient is there, and the limits of each parameter, by the first twelve hours.
COPY (
  SELECT s.patient, s.parameter, avg(s.value) * 0.7 AS low, avg(s.value) * 1.3 AS high,
         to_timestamp_seconds(max(t.first)) AS since, to_timestamp_seconds(max(t.last)) AS until
  FROM stays AS s
  JOIN (SELECT patient, min(second) AS first, max(second) AS last FROM stays GROUP BY patient) AS t
    ON s.patient = t.patient
  WHERE s.second < t.first + 43200
  GROUP BY s.patient, s.parameter ORDER BY s.patient, s.parameter
) TO 'patients-data/records.parquet' STORED AS PARQUET;

CREATE STREAM vitals (
  patient BIGINT, parameter VARCHAR, value DOUBLE, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '10' MINUTE
) WITH (
  connector = 'file', path = 'patients-data/vitals', format = 'csv',
  store = 'patients-data/history'
);
CREATE EXTERNAL TABLE records STORED AS PARQUET LOCATION 'patients-data/records.parquet';

CREATE SINK hourly WITH (connector = 'delta', path = 'patients-data/hourly');
CREATE SINK alerts WITH (connector = 'delta', path = 'patients-data/alerts');
CREATE SINK seen WITH (connector = 'delta', path = 'patients-data/seen');
CREATE SINK monitor WITH (connector = 'console', format = 'csv');

PRINT 'Vital signs come. Signals that end before the stay does are told as they are
found: which patient, when. (A second run has nothing to read and tells none.)';

-- Each hour of each patient.
INSERT INTO hourly
  SELECT window_start, window_end, patient, parameter, count(*) AS n, avg(value) AS mean,
         min(value) AS lowest, max(value) AS highest
  FROM TABLE(TUMBLE(TABLE vitals, DESCRIPTOR(ts), INTERVAL '1' HOUR))
  GROUP BY window_start, window_end, patient, parameter;

-- Hours out of the limits that the patient's record sets.
INSERT INTO alerts
  SELECT w.window_end, w.patient, w.parameter, w.mean,
         CASE WHEN w.mean > r.high THEN 'high' ELSE 'low' END AS alert
  FROM (SELECT window_start, window_end, patient, parameter, avg(value) AS mean
        FROM TABLE(TUMBLE(TABLE vitals, DESCRIPTOR(ts), INTERVAL '1' HOUR))
        GROUP BY window_start, window_end, patient, parameter) AS w
  JOIN records AS r ON w.patient = r.patient AND w.parameter = r.parameter
  WHERE w.mean > r.high OR w.mean < r.low;

-- Hours in which a patient who is there has no value: all hours with those who are to be in them,
-- outer joined with the hours that the patients have.
INSERT INTO alerts
  SELECT e.window_end, e.patient, CAST(NULL AS VARCHAR) AS parameter, CAST(NULL AS DOUBLE) AS mean,
         'missing' AS alert
  FROM (SELECT h.window_start, h.window_end, r.patient
        FROM (SELECT window_start, window_end
              FROM TABLE(TUMBLE(TABLE vitals, DESCRIPTOR(ts), INTERVAL '1' HOUR))
              GROUP BY window_start, window_end) AS h
        CROSS JOIN (SELECT patient, max(since) AS since, max(until) AS until
                    FROM records GROUP BY patient) AS r
        WHERE r.since <= h.window_start AND r.until >= h.window_end) AS e
  LEFT JOIN (SELECT window_start, window_end, patient, count(*) AS n
             FROM TABLE(TUMBLE(TABLE vitals, DESCRIPTOR(ts), INTERVAL '1' HOUR))
             GROUP BY window_start, window_end, patient) AS v
    ON e.window_start = v.window_start AND e.window_end = v.window_end AND e.patient = v.patient
  WHERE v.n IS NULL;

-- The end of each run of signals without an hour and a half between them, to the console.
INSERT INTO monitor
  SELECT 'signal lost' AS alert, s.patient, s.window_end AS ts
  FROM (SELECT window_start, window_end, patient, count(*) AS n
        FROM TABLE(SESSION(TABLE vitals PARTITION BY patient, DESCRIPTOR(ts),
          INTERVAL '90' MINUTE))
        GROUP BY window_start, window_end, patient) AS s
  JOIN (SELECT patient, max(until) AS until FROM records GROUP BY patient) AS r
    ON s.patient = r.patient
  WHERE s.window_end < r.until;

-- When each patient was seen last on each day, always up to date.
INSERT INTO seen
  SELECT window_start AS day, patient, max(ts) AS last, count(*) AS n
  FROM TABLE(TUMBLE(TABLE vitals, DESCRIPTOR(ts), INTERVAL '1' DAY))
  GROUP BY window_start, patient
  EMIT ON UPDATE;

-- What follows runs when the feed has come to its end.
CREATE EXTERNAL TABLE found STORED AS DELTA LOCATION 'patients-data/alerts';
CREATE EXTERNAL TABLE hours STORED AS DELTA LOCATION 'patients-data/hourly';
CREATE EXTERNAL TABLE last_seen STORED AS DELTA LOCATION 'patients-data/seen';

PRINT 'The feed has ended. Hours with a mean out of the limits of the patient, and
hours in which a patient who is there has no value:';
SELECT alert, parameter, count(*) AS hours, count(DISTINCT patient) AS patients
FROM found GROUP BY alert, parameter ORDER BY alert, parameter;

PRINT 'Of which patients, and when:';
SELECT patient, alert, min(window_end) AS first, max(window_end) AS last,
       round(max(mean), 1) AS mean
FROM found GROUP BY patient, alert ORDER BY first, patient, alert LIMIT 8;

PRINT 'Patients and signals of each day, and the earliest of the times at which one
was seen last:';
SELECT day, count(*) AS patients, sum(n) AS signals, min(last) AS earliest
FROM last_seen GROUP BY day ORDER BY day LIMIT 5;

PRINT 'Did the stream give out what a batch over its history gives? All hours are
equal where missing, unexpected and different are 0:';
AUDIT hourly;

-- Late values are in the history, not in the hours that were over when they came. RECONCILE brings
-- the last hours to what they were had none been late; what it changes, it shows and keeps, old and
-- new, in patients-data/hourly__corrections.
PRINT 'Values that came late are stored, and not in the hours that were over.
RECONCILE puts them there, for the last hours, and shows what was there and
what is now (a second run: nothing more):';
RECONCILE hourly SINCE '2026-01-03 09:00:00';
PRINT 'All signals, those that came late, and those that are counted in hours:';
SELECT (SELECT count(*) FROM vitals) AS signals, (SELECT count(*) FROM vitals__late) AS late,
       (SELECT sum(n) FROM hours) AS in_hours;

PRINT 'Next: RECONCILE without SINCE corrects all hours. Hours that were corrected,
old and new:
  thalweg sql -c "SELECT * FROM ''patients-data/hourly__corrections''"';
