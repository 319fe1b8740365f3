-- NEXMark q14, calculation. Against Flink's text: the factor is a DECIMAL by a CAST; HOUR(t) is
-- EXTRACT(HOUR FROM t); the function count_char is written out.
CREATE STREAM bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', events = 1000000);
CREATE SINK nexmark_q14 WITH (connector = 'delta', path = 'nexmark/q14');
INSERT INTO nexmark_q14
SELECT
  auction,
  bidder,
  CAST(0.908 AS DECIMAL(4, 3)) * price AS price,
  CASE
    WHEN EXTRACT(HOUR FROM date_time) >= 8 AND EXTRACT(HOUR FROM date_time) <= 18 THEN 'dayTime'
    WHEN EXTRACT(HOUR FROM date_time) <= 6 OR EXTRACT(HOUR FROM date_time) >= 20
      THEN 'nightTime'
    ELSE 'otherTime'
  END AS bid_time_type,
  date_time,
  extra,
  length(extra) - length(replace(extra, 'c', '')) AS c_counts
FROM bid
WHERE CAST(0.908 AS DECIMAL(4, 3)) * price > 1000000
  AND CAST(0.908 AS DECIMAL(4, 3)) * price < 50000000;
