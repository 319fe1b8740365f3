-- A stream with windows, its stored history, and a batch query over both. Nothing to install:
--
--   thalweg run examples/quickstart.sql --until-end
--
-- Everything it writes goes to quickstart-data/. A second run finds all of it there, writes nothing
-- twice and says so; delete the folder to start afresh.

-- Bids of the NEXMark auction site, from a seeded generator: a hundred seconds of event time.
-- Another source is another connector: (connector = 'file', path = 'bids/', format = 'csv', ..).
CREATE STREAM bids (
  auction BIGINT,
  bidder  BIGINT,
  price   BIGINT,
  ts      TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'nexmark', seed = 7, rate = 10000, events = 1000000,
  store = 'quickstart-data/bids'
);

CREATE SINK per_window WITH (connector = 'delta', path = 'quickstart-data/per_window');

-- The live part: a row for each auction and ten seconds, when the window is over.
INSERT INTO per_window
  SELECT window_start, window_end, auction, count(*) AS bids, max(price) AS top
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end, auction;

-- What follows runs when the stream has come to its end. Both tables are plain Delta tables, which
-- Spark, DuckDB and Polars read as well.
CREATE EXTERNAL TABLE history STORED AS DELTA LOCATION 'quickstart-data/bids';
CREATE EXTERNAL TABLE results STORED AS DELTA LOCATION 'quickstart-data/per_window';

PRINT 'The stream has ended. What its windows of ten seconds found: auctions that had
bids, the bids, and the highest of them.';
SELECT window_start, count(*) AS auctions, sum(bids) AS bids, max(top) AS top
FROM results GROUP BY window_start ORDER BY window_start;

PRINT 'Its rows are stored, each once. The history as a batch: who bids the most?';
SELECT bidder, count(*) AS bids, sum(price) AS total
FROM history GROUP BY bidder ORDER BY bids DESC, bidder LIMIT 5;

PRINT 'Next: run this again, and nothing is read or written twice. Ask the tables:
  thalweg sql -c "SELECT max(price) FROM ''quickstart-data/bids''"
A pipeline with alerts, joins and late rows:
  thalweg run examples/fraud.sql --until-end';
