-- NEXMark q1, currency conversion. Against Flink's text: the factor is a DECIMAL by a CAST.
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE SINK nexmark_q1 WITH (connector = 'delta', path = 'nexmark/q1');
INSERT INTO nexmark_q1
SELECT auction, bidder, CAST(0.908 AS DECIMAL(4, 3)) * price AS price, date_time, extra
FROM bid;
