-- NEXMark q0, pass through. Against Flink's text: nothing more.
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE SINK nexmark_q0 WITH (connector = 'delta', path = 'nexmark/q0');
INSERT INTO nexmark_q0
SELECT auction, bidder, price, date_time, extra FROM bid;
