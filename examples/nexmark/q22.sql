-- NEXMark q22, get URL directories. Against Flink's text: SPLIT_INDEX(u, '/', 3), which counts
-- from 0, is split_part(u, '/', 4).
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE SINK nexmark_q22 WITH (connector = 'delta', path = 'nexmark/q22');
INSERT INTO nexmark_q22
SELECT
  auction, bidder, price, channel,
  split_part(url, '/', 4) AS dir1,
  split_part(url, '/', 5) AS dir2,
  split_part(url, '/', 6) AS dir3
FROM bid;
