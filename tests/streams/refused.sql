-- Queries over a stream that do not run continuously.

CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${few:-connector = 'file', path = 'tests/streams/inputs/few'});

CREATE STREAM bare (v BIGINT, ts TIMESTAMP) WITH (connector = 'random', events = 1);

CREATE SINK out WITH (connector = 'blackhole');
CREATE SINK d WITH (connector = 'delta', path = '${output:-lake}/d');

--fail an aggregate that groups by no window
INSERT INTO out
SELECT count(*) AS n FROM bids;

--fail the join of two streams
INSERT INTO out
SELECT a.price FROM bids a JOIN bids b USING (price);

--fail ORDER BY cannot run continuously
INSERT INTO out
SELECT window_start, count(*) AS n
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start
ORDER BY 1;

--fail LIMIT cannot run
INSERT INTO out
SELECT window_start, count(*) AS n
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start
LIMIT 1;

--fail an aggregate that groups by no window
INSERT INTO out
SELECT count(*) AS n
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY date_bin(INTERVAL '1 hour', ts);

--fail a subquery over a stream
INSERT INTO out
SELECT price FROM bids WHERE price > (SELECT max(price) FROM bids);

--fail OVER without a window
INSERT INTO out
SELECT row_number() OVER (ORDER BY ts) AS n FROM bids;

--fail an aggregate that groups by no window
INSERT INTO out
SELECT DISTINCT price FROM bids;

--fail stream bare has no watermark, so no window ever closes
INSERT INTO out
SELECT window_start, count(*) AS n
FROM TABLE(TUMBLE(TABLE bare, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start;

--fail sink d: a row that is given out again
INSERT INTO d SELECT count(*) AS n FROM bids EMIT ON UPDATE;

--fail-unplaced give it another name
INSERT INTO out
SELECT window_end, count(*) AS n
FROM TABLE(TUMBLE(
  DATA => (SELECT ts, ts + INTERVAL '1' DAY AS __watermark FROM bids),
  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
