-- NEXMark q13, bounded side input join. Against Flink's text: MOD(a, b) is a % b; the side input
-- is joined without FOR SYSTEM_TIME AS OF.
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE EXTERNAL TABLE side_input STORED AS CSV LOCATION 'examples/nexmark/side_input.csv';
CREATE SINK nexmark_q13 WITH (connector = 'delta', path = 'nexmark/q13');
INSERT INTO nexmark_q13
SELECT B.auction, B.bidder, B.price, B.date_time, S.value
FROM bid B
JOIN side_input AS S ON B.auction % 10000 = S.key;
