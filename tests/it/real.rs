//! Real files that nobody prepared: quotes, NULLs, cancelled orders, `NA` for a number. Each query
//! answers the same on the CPU and on the GPU, to the last digit.

use thalweg::config::DeviceChoice;

use super::support::{Answer, engine_on, rows, shared_data};

/// Runs the queries on both sides over the same tables; `at_least` rows are expected of each.
fn same_on_both_sides(folder: &str, tables: &str, queries: &[(usize, &str)]) {
    let Some(folder) = shared_data(folder) else { return };
    let tables = tables.replace("{data}", &folder.display().to_string());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(device) = engine_on(DeviceChoice::Gpu) else { return };
    let host = engine_on(DeviceChoice::Cpu).unwrap();
    runtime.block_on(async {
        for engine in [&host, &device] {
            super::support::run(engine, &tables).await.unwrap();
        }
        for (at_least, query) in queries {
            let expected = sorted(rows(&host, query).await);
            let found = sorted(rows(&device, query).await);
            assert!(expected.len() >= *at_least, "{} rows from {query}", expected.len());
            assert_eq!(found.len(), expected.len(), "numbers of rows differ: {query}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "gpu (left) and cpu (right) differ: {query}");
            }
        }
    });
}

fn sorted(answer: Answer) -> Vec<Vec<String>> {
    let mut rows = answer.rows;
    rows.sort();
    rows
}

#[test]
fn flights() {
    same_on_both_sides(
        "nycflights13",
        "CREATE EXTERNAL TABLE flights STORED AS PARQUET LOCATION '{data}/flights.parquet';
         CREATE EXTERNAL TABLE weather STORED AS CSV LOCATION '{data}/weather.csv'
           OPTIONS ('format.has_header' 'true');
         CREATE EXTERNAL TABLE planes STORED AS CSV LOCATION '{data}/planes.csv'
           OPTIONS ('format.has_header' 'true');
         CREATE EXTERNAL TABLE airports STORED AS PARQUET LOCATION '{data}/airports.parquet';
         CREATE EXTERNAL TABLE airlines STORED AS PARQUET LOCATION '{data}/airlines.parquet';",
        &[
            (
                1,
                "SELECT count(*), count(dep_time), sum(distance), min(arr_delay), max(arr_delay),
                        avg(dep_delay) FROM flights WHERE origin = 'JFK' AND month BETWEEN 6 AND 8",
            ),
            (
                16,
                "SELECT carrier, count(*), avg(arr_delay), sum(air_time) FROM flights
                  GROUP BY carrier",
            ),
            (
                3,
                "SELECT origin, count(*) FILTER (WHERE dep_delay > 60), max(dep_delay) FROM flights
                 WHERE dest LIKE '_A%' GROUP BY origin",
            ),
            (
                365,
                "SELECT month, day, count(*), sum(distance), min(dep_time) FROM flights
                   GROUP BY month, day",
            ),
            (2000, "SELECT tailnum, count(*), avg(distance) FROM flights GROUP BY tailnum"),
            (
                16,
                "SELECT a.name, count(*), sum(f.distance) FROM flights f
                  JOIN airlines a ON f.carrier = a.carrier GROUP BY a.name",
            ),
            (
                2,
                "SELECT p.engines, count(*), avg(f.distance) FROM flights f
                 LEFT JOIN planes p ON f.tailnum = p.tailnum GROUP BY p.engines",
            ),
            (
                1,
                "SELECT count(*), sum(distance) FROM flights f
                 WHERE NOT EXISTS (SELECT 1 FROM planes p WHERE p.tailnum = f.tailnum)",
            ),
            (
                1,
                "SELECT count(*), sum(distance) FROM flights WHERE dest NOT IN
                 (SELECT faa FROM airports)",
            ),
            (
                3,
                "SELECT f.origin, count(*), count(w.temp), sum(w.precip), max(w.wind_speed)
                 FROM flights f LEFT JOIN weather w
                 ON f.origin = w.origin AND f.year = w.year AND f.month = w.month
                    AND f.day = w.day AND f.hour = w.hour GROUP BY f.origin",
            ),
            (60, "SELECT carrier, flight, dep_delay FROM flights WHERE dep_delay > 500"),
            (
                24,
                "SELECT date_part('hour', time_hour), count(*), avg(temp), min(humid)
                  FROM weather GROUP BY 1",
            ),
        ],
    );
}

#[test]
fn retail() {
    same_on_both_sides(
        "online_retail/by-day",
        "CREATE EXTERNAL TABLE retail (invoice VARCHAR, stock VARCHAR, description VARCHAR,
           quantity BIGINT, at TIMESTAMP, price DOUBLE, customer DOUBLE, country VARCHAR)
         STORED AS CSV LOCATION '{data}/' OPTIONS ('format.has_header' 'true');",
        &[
            (
                1,
                "SELECT count(*), count(customer), sum(quantity), sum(quantity * price), min(at),
                        max(at) FROM retail",
            ),
            (
                30,
                "SELECT country, count(*), sum(quantity * price), avg(price) FROM retail
                  GROUP BY country",
            ),
            (
                1,
                "SELECT count(*), sum(quantity) FROM retail
                 WHERE invoice LIKE 'C%' AND customer IS NOT NULL",
            ),
            (
                1,
                "SELECT count(*), max(price) FROM retail WHERE description LIKE '%\"%'
                 OR description LIKE '%,%'",
            ),
            (200, "SELECT date_trunc('day', at), count(*), sum(price) FROM retail GROUP BY 1"),
            (
                1000,
                "SELECT customer, count(*), sum(quantity * price) FROM retail
                    WHERE quantity > 0 GROUP BY customer",
            ),
            (
                2,
                "SELECT CASE WHEN quantity < 0 THEN 'returned' WHEN price = 0 THEN 'given'
                 ELSE 'sold' END AS what, count(*), sum(quantity) FROM retail GROUP BY what",
            ),
            (
                100,
                "SELECT a.stock, count(*) FROM
                     (SELECT DISTINCT stock FROM retail WHERE invoice LIKE 'C%') a
                   JOIN retail b ON a.stock = b.stock WHERE b.country <> 'United Kingdom'
                   GROUP BY a.stock",
            ),
        ],
    );
}

#[test]
fn air() {
    same_on_both_sides(
        "beijing_air/csv",
        "CREATE EXTERNAL TABLE raw (\"No\" BIGINT, year INT, month INT, day INT, hour INT,
           \"PM2.5\" VARCHAR, \"PM10\" VARCHAR, \"SO2\" VARCHAR, \"NO2\" VARCHAR, \"CO\" VARCHAR,
           \"O3\" VARCHAR, \"TEMP\" VARCHAR, \"PRES\" VARCHAR, \"DEWP\" VARCHAR, \"RAIN\" VARCHAR,
           wd VARCHAR, \"WSPM\" VARCHAR, station VARCHAR)
         STORED AS CSV LOCATION '{data}/' OPTIONS ('format.has_header' 'true');
         CREATE VIEW air AS SELECT year, month, day, hour, station, nullif(wd, 'NA') AS wd,
           CAST(nullif(\"PM2.5\", 'NA') AS DOUBLE) AS pm25,
           CAST(nullif(\"TEMP\", 'NA') AS DOUBLE) AS temp,
           CAST(nullif(\"CO\", 'NA') AS BIGINT) AS co,
           CAST(nullif(\"RAIN\", 'NA') AS DOUBLE) AS rain
         FROM raw;",
        &[
            (
                5,
                "SELECT station, count(*), count(pm25), avg(pm25), max(pm25), min(temp) FROM air
                 GROUP BY station",
            ),
            (16, "SELECT wd, count(*), avg(pm25), sum(co) FROM air GROUP BY wd"),
            (1, "SELECT count(*), sum(rain), max(co) FROM air WHERE temp < 0 AND pm25 > 200"),
            (
                48,
                "SELECT year, month, avg(temp), sum(rain), count(co) FROM air
                  WHERE station IN ('Dingling', 'Huairou') GROUP BY year, month",
            ),
            (
                1,
                "SELECT count(*), sum(a.co - b.co) FROM air a JOIN air b
                 ON a.year = b.year AND a.month = b.month AND a.day = b.day AND a.hour = b.hour
                 WHERE a.station = 'Dingling' AND b.station = 'Wanliu' AND a.pm25 > b.pm25",
            ),
        ],
    );
}
