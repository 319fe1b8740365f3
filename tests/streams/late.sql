-- Late rows. The row of second 14 comes when the watermark is at 20: its window is over. The row of
-- second 21 comes then too, and is in time.
--ordered
--strict
--batch_rows 1, 2, 3, 7
--epoch_rows 1
--spills 3

CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (${few:-connector = 'file', path = 'tests/streams/inputs/few'},
  store = '${store:-lake}/bids');

CREATE SINK windows WITH (connector = 'file', format = 'csv', path = '${output:-lake}/windows');
INSERT INTO windows
SELECT window_start, window_end, auction, count(*) AS n, max(price) AS top
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, auction;
