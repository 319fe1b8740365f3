-- A shop: clicks and orders as they come, beside what is in stock.
--
--   thalweg run examples/retail.sql --until-end
--   thalweg run examples/retail.sql --until-end --set data=DIR    # orders in files of your own
--
-- The columns of the orders are those of the public data set "Online Retail", which has a file for
-- each day. All it writes is in retail-data/; a second run finds it there and writes nothing twice.

-- Three days of orders, a file each, by a fixed arithmetic: a line every 30 seconds, four lines an
-- invoice; a few are cancelled (C.., a negative quantity), some have no customer, and some come two
-- hours late.
CREATE VIEW feed AS
  SELECT concat(CASE WHEN invoice % 97 = 0 THEN 'C' ELSE '' END, invoice) AS "InvoiceNo",
         concat(21000 + product, 'A') AS "StockCode", concat('ARTICLE, NUMBER ', product)
           AS "Description",
         CASE WHEN invoice % 97 = 0 THEN -1 ELSE 1 + line * 11 % 12 END AS "Quantity",
         to_timestamp_seconds(1291190400 + day * 86400 + line * 30 - line * 41 % 300
           - CASE WHEN line % 400 = 399 THEN 7200 ELSE 0 END) AS "InvoiceDate",
         (85 + product * 15) / 100.0 AS "UnitPrice",
         CASE WHEN invoice % 5 > 0 THEN 12346.0 + invoice * 37 % 200 END AS "CustomerID",
         CASE WHEN invoice * 37 % 200 < 150 THEN 'United Kingdom' ELSE 'France' END AS "Country",
         day, line
  FROM (SELECT value / 1200 AS day, value % 1200 AS line, 536365 + value / 4 AS invoice,
          value % 1200 * (value % 1200 + value / 1200) % 80 AS product
        FROM generate_series(0, 3599));
COPY (SELECT * EXCEPT (day, line) FROM feed WHERE day = 0 ORDER BY line)
  TO 'retail-data/orders/2010-12-01.csv' STORED AS CSV;
COPY (SELECT * EXCEPT (day, line) FROM feed WHERE day = 1 ORDER BY line)
  TO 'retail-data/orders/2010-12-02.csv' STORED AS CSV;
COPY (SELECT * EXCEPT (day, line) FROM feed WHERE day = 2 ORDER BY line)
  TO 'retail-data/orders/2010-12-03.csv' STORED AS CSV;

-- The same files as a table, for what is made from them before the streams begin.
CREATE EXTERNAL TABLE lines (
  invoice VARCHAR, product VARCHAR, name VARCHAR, quantity BIGINT, ts TIMESTAMP, price DOUBLE,
  customer DOUBLE, country VARCHAR
) STORED AS CSV LOCATION '${data:-retail-data/orders}';

-- What a day begins with in stock: twice what is sold on a day on which any is sold.
COPY (
  SELECT product, max(name) AS name, CAST(2 * avg(sold) AS BIGINT) AS stock
  FROM (SELECT product, max(name) AS name, sum(quantity) AS sold
        FROM lines WHERE quantity > 0 GROUP BY product, date_trunc('day', ts))
  GROUP BY product ORDER BY product
) TO 'retail-data/inventory.parquet' STORED AS PARQUET;

-- Clicks: one some minutes before each line of a known customer, and for every third a look at it
-- six hours before, of which nothing comes. They are up to four minutes out of order.
COPY (
  SELECT to_timestamp_seconds(clicked) AS ts, customer, product
  FROM (SELECT CAST(to_unixtime(ts) AS BIGINT) - before AS clicked, customer, product
        FROM (SELECT *, 60 + CAST(customer AS BIGINT) * 17 % 1500 AS before FROM lines
              UNION ALL
              SELECT *, 21600 AS before FROM lines WHERE CAST(customer AS BIGINT) % 3 = 0)
        WHERE customer IS NOT NULL AND quantity > 0)
  ORDER BY clicked + CAST(customer AS BIGINT) * 23 % 240, customer, product
) TO 'retail-data/clicks/clicks.csv' STORED AS CSV;

CREATE STREAM orders (
  InvoiceNo VARCHAR, StockCode VARCHAR, Description VARCHAR, Quantity BIGINT,
  InvoiceDate TIMESTAMP, UnitPrice DOUBLE, CustomerID DOUBLE, Country VARCHAR,
  WATERMARK FOR InvoiceDate AS InvoiceDate - INTERVAL '4' MINUTE
) WITH (
  connector = 'file', path = '${data:-retail-data/orders}', format = 'csv',
  store = 'retail-data/history'
);
CREATE STREAM clicks (
  ts TIMESTAMP, customer DOUBLE, product VARCHAR,
  WATERMARK FOR ts AS ts - INTERVAL '4' MINUTE
) WITH (connector = 'file', path = 'retail-data/clicks', format = 'csv');
CREATE EXTERNAL TABLE inventory STORED AS PARQUET LOCATION 'retail-data/inventory.parquet';

CREATE SINK conversions WITH (connector = 'delta', path = 'retail-data/conversions');
CREATE SINK abandoned WITH (connector = 'delta', path = 'retail-data/abandoned');
CREATE SINK low_stock WITH (connector = 'delta', path = 'retail-data/low_stock');
CREATE SINK revenue WITH (connector = 'delta', path = 'retail-data/revenue');

-- Orders that come within half an hour of a click on the article, by the hour.
INSERT INTO conversions
  SELECT window_start, window_end, country, count(*) AS orders, sum(amount) AS amount
  FROM TABLE(TUMBLE(
    DATA => (
      SELECT o.InvoiceDate AS ts, o.Country AS country, o.Quantity * o.UnitPrice AS amount
      FROM clicks AS c
      JOIN orders AS o ON c.customer = o.CustomerID AND c.product = o.StockCode
        AND o.InvoiceDate BETWEEN c.ts AND c.ts + INTERVAL '30' MINUTE
      WHERE o.Quantity > 0),
    TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' HOUR))
  GROUP BY window_start, window_end, country;

-- Clicks that no order follows.
INSERT INTO abandoned
  SELECT c.ts, c.customer, c.product
  FROM clicks AS c
  LEFT ANTI JOIN orders AS o ON c.customer = o.CustomerID AND c.product = o.StockCode
    AND o.InvoiceDate BETWEEN c.ts AND c.ts + INTERVAL '30' MINUTE;

-- Articles of which three quarters of the day's stock are sold, by the end of which hour.
INSERT INTO low_stock
  SELECT s.window_end, s.product, s.sold, i.stock
  FROM (SELECT window_start, window_end, StockCode AS product, sum(Quantity) AS sold
        FROM TABLE(CUMULATE(TABLE orders, DESCRIPTOR(InvoiceDate), INTERVAL '1' HOUR,
          INTERVAL '1' DAY))
        GROUP BY window_start, window_end, StockCode) AS s
  JOIN inventory AS i ON s.product = i.product
  WHERE s.sold >= 0.75 * i.stock;

-- The day's revenue, always up to date.
INSERT INTO revenue
  SELECT window_start AS day, Country AS country, count(*) AS lines,
         sum(Quantity * UnitPrice) AS amount
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(InvoiceDate), INTERVAL '1' DAY))
  GROUP BY window_start, Country
  EMIT ON UPDATE;

-- What follows runs when the files have come to their end.
CREATE EXTERNAL TABLE bought STORED AS DELTA LOCATION 'retail-data/conversions';
CREATE EXTERNAL TABLE left_behind STORED AS DELTA LOCATION 'retail-data/abandoned';
CREATE EXTERNAL TABLE low STORED AS DELTA LOCATION 'retail-data/low_stock';
CREATE EXTERNAL TABLE earned STORED AS DELTA LOCATION 'retail-data/revenue';

PRINT 'The feed has ended. The revenue of each day by country, kept up to date while
orders came:';
SELECT day, country, lines, round(amount, 2) AS amount FROM earned ORDER BY day, country LIMIT 8;

PRINT 'Clicks, orders that came within half an hour of one, and clicks that no order
followed:';
SELECT b.clicks, b.orders, a.abandoned
FROM (SELECT (SELECT count(*) FROM clicks) AS clicks, sum(orders) AS orders FROM bought) AS b
CROSS JOIN (SELECT count(*) AS abandoned FROM left_behind) AS a;

PRINT 'Articles of which three quarters of the stock were sold in a day: by which
hour, and how many:';
SELECT l.product, i.name, min(l.window_end) AS by, max(l.sold) AS sold, max(l.stock) AS stock
FROM low AS l JOIN inventory AS i ON l.product = i.product
GROUP BY l.product, i.name, date_trunc('day', l.window_end - INTERVAL '1' SECOND)
ORDER BY sold DESC, l.product, by LIMIT 5;

PRINT 'Did the stream give out what a batch over its history gives? All windows are
equal where missing, unexpected and different are 0:';
AUDIT conversions;

PRINT 'The history as a batch: the best customers, live rows included:';
SELECT CustomerID AS customer, count(DISTINCT InvoiceNo) AS invoices,
       round(sum(Quantity * UnitPrice), 2) AS amount
FROM orders WHERE CustomerID IS NOT NULL
GROUP BY CustomerID ORDER BY amount DESC, customer LIMIT 5;

PRINT 'Next: the same for orders of your own, --set data=DIR. What nobody bought, by
article:
  thalweg sql -c "SELECT product, count(*) FROM ''retail-data/abandoned'' GROUP BY product"';
