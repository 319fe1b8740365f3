-- NEXMark q10, log to file system. Against Flink's text: DATE_FORMAT(t, 'yyyy-MM-dd') is
-- to_char(t, '%Y-%m-%d'); the rows are not in folders by day and minute.
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE SINK nexmark_q10 WITH (connector = 'delta', path = 'nexmark/q10');
INSERT INTO nexmark_q10
SELECT auction, bidder, price, date_time, extra,
  to_char(date_time, '%Y-%m-%d') AS dt, to_char(date_time, '%H:%M') AS hm
FROM bid;
