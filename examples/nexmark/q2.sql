-- NEXMark q2, selection. Against Flink's text: MOD(a, b) is a % b.
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE SINK nexmark_q2 WITH (connector = 'delta', path = 'nexmark/q2');
INSERT INTO nexmark_q2
SELECT auction, price FROM bid WHERE auction % 123 = 0;
