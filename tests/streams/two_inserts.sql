-- Two queries that write to one sink.
--epoch_rows 1
--spills 3

CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${few:-connector = 'file', path = 'tests/streams/inputs/few'},
  store = '${store:-lake}/bids');

CREATE SINK results WITH (connector = 'delta', path = '${output:-lake}/results');
INSERT INTO results
SELECT window_start, window_end, auction, count(*) AS n, max(price) AS top
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, auction;

INSERT INTO results
SELECT window_start, window_end, 0 AS auction, count(*) AS n, CAST(NULL AS BIGINT) AS top
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
