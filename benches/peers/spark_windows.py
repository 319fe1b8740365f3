#!/usr/bin/env python3
"""The Spark side of windows.py: Structured Streaming over a folder of Parquet files, into its
exactly-once sink of Parquet files. Needs only pyspark and a Java that it runs on.

    spark_windows.py FOLDER_OF_INPUT FOLDER_OF_OUTPUT

Prints {"seconds": ..} of the streaming query, from its start to its end.
"""

import json
import sys
import time

from pyspark.sql import SparkSession, functions as F

data, folder = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .appName("windows")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.driver.memory", "8g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
begun = time.monotonic()
events = spark.readStream.schema("ts TIMESTAMP_NTZ, key BIGINT, value BIGINT").parquet(data)
results = (
    events.withColumn("ts", F.col("ts").cast("timestamp"))
    .withWatermark("ts", "5 seconds")
    .groupBy(F.window("ts", "10 seconds"), "key")
    .agg(F.count("*").alias("n"), F.sum("value").alias("total"), F.max("value").alias("top"))
    .select(F.col("window.start").alias("window_start"), "key", "n", "total", "top")
)
query = (
    results.writeStream.format("parquet")
    .outputMode("append")
    .option("checkpointLocation", f"{folder}/checkpoint")
    .trigger(availableNow=True)
    .start(f"{folder}/out")
)
query.awaitTermination()
print(json.dumps({"seconds": time.monotonic() - begun}))
spark.stop()
