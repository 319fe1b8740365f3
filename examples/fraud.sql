-- Card fraud: every payment against the card's own past, as it comes.
--
--   thalweg run examples/fraud.sql --until-end
--
-- All it writes is in fraud-data/; a second run finds it there and writes nothing twice. Put
-- another file into fraud-data/payments/, and the next run goes on with it. Without --until-end and
-- without the statements behind the INSERTs it runs on, and reads files as they arrive.

-- The months before: 60 cards, each with its own habit, by a fixed arithmetic. Amounts are cents.
COPY (
  SELECT value % 60 AS card, to_timestamp_seconds(1764547200 + value * 900) AS ts,
         500 + value % 60 * 100 + value * 7919 % 997 AS amount
  FROM generate_series(1, 6000) ORDER BY value
) TO 'fraud-data/months.parquet' STORED AS PARQUET;

-- The feed, in two files: a payment every ten seconds, up to a minute out of order, a few of them a
-- quarter of an hour late. In it are what the rules below are to find: a card that is tried eight
-- times in a row, amounts far above the habit, a card 1,400 km from where it just was.
CREATE VIEW feed AS
  SELECT value AS id, card,
         to_timestamp_seconds(1772323200 + value * 10 - value * 31 % 60
           - CASE WHEN value % 250 = 249 THEN 900 ELSE 0 END) AS ts,
         CASE WHEN value % 170 = 169 THEN 20000 + value
              ELSE 500 + card * 100 + value * 7907 % 997 END AS amount,
         CASE WHEN value % 331 = 330 THEN 1400 ELSE value * 13 % 20 END AS x_km,
         value * 17 % 20 AS y_km
  FROM (SELECT value, CASE WHEN value % 1000 BETWEEN 500 AND 507 THEN 7 ELSE value * 7 % 60 END
          AS card FROM generate_series(1, 3000));
COPY (SELECT * FROM feed WHERE id <= 1500 ORDER BY id)
  TO 'fraud-data/payments/1.csv' STORED AS CSV;
COPY (SELECT * FROM feed WHERE id > 1500 ORDER BY id)
  TO 'fraud-data/payments/2.csv' STORED AS CSV;

CREATE STREAM payments (
  id BIGINT, card BIGINT, ts TIMESTAMP, amount BIGINT, x_km DOUBLE, y_km DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH (
  connector = 'file', path = 'fraud-data/payments', format = 'csv',
  store = 'fraud-data/history'
);
CREATE EXTERNAL TABLE months STORED AS PARQUET LOCATION 'fraud-data/months.parquet';

CREATE SINK alerts WITH (connector = 'delta', path = 'fraud-data/alerts');
CREATE SINK velocity WITH (connector = 'delta', path = 'fraud-data/velocity');
CREATE SINK spending WITH (connector = 'delta', path = 'fraud-data/spending');
CREATE SINK pager WITH (connector = 'console', format = 'csv');

PRINT 'Payments come. Bursts are told as they are found: which card, since when, until
when, how many payments. (A second run has nothing to read and tells none.)';

-- Velocity: five payments of a card or more within two minutes.
INSERT INTO velocity
  SELECT window_start, window_end, card, count(*) AS payments, sum(amount) AS amount
  FROM TABLE(HOP(TABLE payments, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '2' MINUTE))
  GROUP BY window_start, window_end, card
  HAVING count(*) >= 5;

-- The same by sessions: a run of payments without half a minute between them; to the console.
INSERT INTO pager
  SELECT 'burst' AS alert, card, window_start AS since, window_end AS until, count(*) AS payments
  FROM TABLE(SESSION(TABLE payments PARTITION BY card, DESCRIPTOR(ts), INTERVAL '30' SECOND))
  GROUP BY window_start, window_end, card
  HAVING count(*) >= 5;

-- Amount: far above what the card paid in the months before.
INSERT INTO alerts
  SELECT 'amount' AS alert, p.card, p.ts, p.id,
         concat(p.amount, ' where ', CAST(h.mean AS BIGINT), ' is usual') AS why
  FROM payments AS p
  JOIN (SELECT card, avg(amount) AS mean, stddev(amount) AS spread FROM months GROUP BY card) AS h
    ON p.card = h.card
  WHERE p.amount > h.mean + 6 * h.spread;

-- Travel: two payments of a card within a quarter of an hour, further apart than an airliner gets.
INSERT INTO alerts
  SELECT 'travel' AS alert, b.card, b.ts, b.id,
         concat(CAST(sqrt(power(b.x_km - a.x_km, 2) + power(b.y_km - a.y_km, 2)) AS BIGINT),
           ' km since payment ', a.id) AS why
  FROM payments AS a
  JOIN payments AS b
    ON a.card = b.card AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '15' MINUTE AND a.id <> b.id
  WHERE sqrt(power(b.x_km - a.x_km, 2) + power(b.y_km - a.y_km, 2))
    > 0.25 * (EXTRACT(EPOCH FROM b.ts) - EXTRACT(EPOCH FROM a.ts)) + 50;

-- What each card has spent today, always up to date: its row changes as payments come.
INSERT INTO spending
  SELECT window_start AS day, card, count(*) AS payments, sum(amount) AS amount
  FROM TABLE(TUMBLE(TABLE payments, DESCRIPTOR(ts), INTERVAL '1' DAY))
  GROUP BY window_start, card
  EMIT ON UPDATE;

-- What follows runs when the files have come to their end.
CREATE EXTERNAL TABLE found STORED AS DELTA LOCATION 'fraud-data/alerts';
CREATE EXTERNAL TABLE bursts STORED AS DELTA LOCATION 'fraud-data/velocity';
CREATE EXTERNAL TABLE spent STORED AS DELTA LOCATION 'fraud-data/spending';

PRINT 'The feed has ended. Alerts: amounts far above the habit of a card, and two
payments that are further apart than one can travel.';
SELECT alert, count(*) AS alerts, count(DISTINCT card) AS cards, min(ts) AS first, max(ts) AS last
FROM found GROUP BY alert ORDER BY alert;

PRINT 'The first of them, each with its reason:';
SELECT * FROM found ORDER BY ts, alert, id, why LIMIT 8;

PRINT 'Cards with five payments or more in two minutes:';
SELECT card, min(window_start) AS since, max(window_end) AS until, max(payments) AS payments
FROM bursts GROUP BY card, date_trunc('hour', window_start) ORDER BY since;

PRINT 'Did the stream give out what a batch over its history gives? All windows are
equal where missing, unexpected and different are 0:';
AUDIT velocity;

PRINT 'History and live are one table: the cards that spent most today, and what they
usually pay:';
SELECT s.card, s.amount AS spent, s.payments, h.mean AS usual
FROM spent AS s
JOIN (SELECT card, CAST(avg(amount) AS BIGINT) AS mean FROM months GROUP BY card) AS h
  ON s.card = h.card
ORDER BY spent DESC, s.card LIMIT 5;

PRINT 'All payments are stored, late ones too:';
SELECT count(*) AS payments, sum(amount) AS amount FROM payments;
PRINT 'How many of these came late, so that windows that were over are without them:';
SELECT count(*) AS late FROM payments__late;

PRINT 'Next: run it again (nothing comes twice), or put another file of payments into
fraud-data/payments/ and run it then. What an alert is made of:
  thalweg sql -c "SELECT * FROM ''fraud-data/alerts'' WHERE card = 7"';
