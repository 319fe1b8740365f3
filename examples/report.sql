-- A report of several results over files, with a value from the command line:
--
--   thalweg sql -f examples/report.sql
--   thalweg sql -f examples/report.sql --set month=2026-02

CREATE VIEW flights AS SELECT * FROM 'datasets/flights/${month:-2026-01}.csv';

PRINT 'Flights of ${month:-2026-01} by carrier, and minutes of delay of those that
flew:';
SELECT carrier, count(*) AS flights, count(*) - count(delay) AS cancelled,
       round(avg(delay), 1) AS mean, max(delay) AS most
FROM flights GROUP BY carrier ORDER BY carrier;

PRINT 'The days with the most delay:';
SELECT date, sum(delay) AS minutes, count(*) FILTER (WHERE delay > 60) AS over_an_hour
FROM flights GROUP BY date ORDER BY minutes DESC, date LIMIT 3;
