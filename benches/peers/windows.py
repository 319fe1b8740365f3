#!/usr/bin/env python3
"""Times one windowed aggregation in Thalweg, Spark Structured Streaming and DuckDB, on one machine,
one after another over the same Parquet files, and checks that all three answer the same.

    benches/peers/windows.py --thalweg target/release/thalweg
    benches/peers/windows.py --thalweg .. --keys 10000 --rows 1000000 --engines thalweg,duckdb

The work: count, sum and maximum of a value by key and tumbling window of ten seconds, with a
watermark of five seconds; rows come up to four seconds out of order, ten thousand a second of event
time. Rows in Parquet, results on disk.

    thalweg  `thalweg run --until-end`, a Delta sink, exactly once
    +store   the same, and every row kept in a Delta table
    spark    Structured Streaming, local[2], trigger availableNow in one batch, append mode, its
             exactly-once sink of Parquet files (its Delta sink needs more than pyspark, and does
             more work)
    duckdb   one `COPY (SELECT .. GROUP BY ..) TO` Parquet: no stream, no watermark, no transaction

Whole processes are timed, wall clock and CPU time; of Spark, also the streaming query alone, without
the start of the virtual machine ("inner"). Each engine runs
`--runs` times, in turn; the fastest counts. Windows that a watermark leaves open at the end are
counted by those that close them: Spark leaves the last ones out, so results are compared without
the last two windows.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = 8
RATE = 10_000

STREAM = """CREATE STREAM events (
  {}ts TIMESTAMP, "key" BIGINT, value BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ({});
"""

QUERY = """CREATE SINK results WITH (connector = 'delta', path = '{folder}/out');
INSERT INTO results
SELECT window_start, key, count(*) AS n, sum(value) AS total, max(value) AS top
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, key;
"""


def run(command, **more):
    """Wall seconds, CPU seconds and the output of a command that has to succeed."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def make(thalweg, folder, rows, keys):
    """The input, in files; kept where it is there already."""
    if os.path.exists(f"{folder}.done"):
        return
    os.makedirs(folder, exist_ok=True)
    options = [
        "connector = 'random'", f"events = {rows}", f"rate = {RATE}", "seed = 7",
        "'fields.ts.jitter' = '4 seconds'", "'fields.key.min' = '1'",
        f"'fields.key.max' = '{keys}'", "'fields.value.min' = '0'", "'fields.value.max' = '999999'",
    ]
    options.append("'fields.nth.kind' = 'sequence'")
    text = STREAM.format("nth BIGINT, ", ", ".join(options))
    for part in range(FILES):
        low, high = rows * part // FILES, rows * (part + 1) // FILES
        text += (
            f"COPY (SELECT ts, key, value FROM events WHERE nth >= {low} AND nth < {high}"
            f" ORDER BY nth) TO '{folder}/part{part}.parquet' STORED AS PARQUET;\n"
        )
    with open(f"{folder}.sql", "w") as file:
        file.write(text)
    run([thalweg, "sql", "-f", f"{folder}.sql"])
    open(f"{folder}.done", "w").close()


def thalweg_run(args, data, folder, store):
    options = f"connector = 'file', path = '{data}', format = 'parquet'"
    if store:
        options += f", store = '{folder}/store'"
    with open(f"{folder}/pipeline.sql", "w") as file:
        file.write(STREAM.format("", options) + QUERY.format(folder=folder))
    command = [args.thalweg, "run", f"{folder}/pipeline.sql", "--until-end"]
    command += ["--state", f"{folder}/state", "--device", args.device]
    wall, cpu, _ = run(command)
    return wall, cpu, None


def spark_run(args, data, folder):
    environment = dict(os.environ, SPARK_LOCAL_IP="127.0.0.1")
    command = [args.python, f"{HERE}/spark_windows.py", data, folder]
    # The virtual machine is no child that is waited for: its CPU time is not known.
    wall, _, out = run(command, env=environment)
    return wall, None, json.loads(out.splitlines()[-1])["seconds"]


DUCKDB = """
import sys, duckdb
data, folder = sys.argv[1:]
con = duckdb.connect()
con.execute("SET threads = 2")
con.execute(f\"\"\"COPY (
  SELECT time_bucket(INTERVAL '10 seconds', ts) AS window_start, key, count(*) AS n,
         sum(value)::BIGINT AS total, max(value) AS top
  FROM read_parquet('{data}/*.parquet') GROUP BY ALL
) TO '{folder}/out.parquet' (FORMAT parquet)\"\"\")
"""


def duckdb_run(args, data, folder):
    wall, cpu, _ = run([args.python, "-c", DUCKDB, data, folder])
    return wall, cpu, None


ENGINES = {
    "thalweg": lambda args, data, folder: thalweg_run(args, data, folder, False),
    "+store": lambda args, data, folder: thalweg_run(args, data, folder, True),
    "duckdb": duckdb_run,
    "spark": spark_run,
}
OUTPUT = {"thalweg": "'{}/out'", "+store": "'{}/out'", "duckdb": "'{}/out.parquet'",
          "spark": "'{}/out/*.parquet'"}


def answer(args, engine, folder, before):
    """What an engine wrote, as a few sums; read by Thalweg's batch side."""
    source = OUTPUT[engine].format(folder)
    query = (
        f"SELECT count(*) AS rows, sum(n) AS n, sum(total) AS total, sum(top) AS top, "
        f"sum(key * n) AS mixed FROM {source} WHERE window_start < TIMESTAMP '{before}'"
    )
    return run([args.thalweg, "sql", "--format", "json", "-c", query])[2].strip()


def measure(args, keys, scratch):
    data = f"{args.data}/events-{args.rows}-{keys}"
    make(args.thalweg, data, args.rows, keys)
    seconds = args.rows // RATE
    before = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1767225600 + seconds - seconds % 10 - 20))
    best, answers = {}, {}
    for nth in range(args.runs):
        for engine in args.engines:
            folder = f"{scratch}/{engine.strip('+')}"
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            wall, cpu, inner = ENGINES[engine](args, data, folder)
            print(f"{keys} keys, run {nth}, {engine}: {wall:.2f} s", file=sys.stderr)
            if engine not in best or wall < best[engine][0]:
                best[engine] = (wall, cpu, inner)
            if nth == 0:
                answers[engine] = answer(args, engine, folder, before)
            shutil.rmtree(folder)
    if len(set(answers.values())) != 1:
        sys.exit(f"the engines do not agree: {json.dumps(answers, indent=2)}")
    rows = json.loads(next(iter(answers.values())))["rows"]
    print(f"\n{args.rows} rows, {keys} keys, {rows} results compared and equal; best of {args.runs}")
    print(f"{'engine':9} {'wall s':>8} {'inner s':>8} {'CPU s':>8} {'rows/s':>12} {'of thalweg':>11}")
    base = best.get("thalweg", next(iter(best.values())))[0]
    for engine, (wall, cpu, inner) in best.items():
        shown = "" if inner is None else f"{inner:.2f}"
        used = "" if cpu is None else f"{cpu:.2f}"
        rate = args.rows / wall
        print(f"{engine:9} {wall:8.2f} {shown:>8} {used:>8} {rate:12,.0f} {base / wall:11.3f}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--thalweg", default="target/release/thalweg")
    parser.add_argument("--python", default=sys.executable, help="one that has duckdb and pyspark")
    parser.add_argument("--keys", default="10000,100000")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--engines", default="thalweg,+store,duckdb,spark")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", help="a folder to keep the input in", default=None)
    args = parser.parse_args()
    args.engines = args.engines.split(",")
    args.thalweg = os.path.abspath(args.thalweg)
    unknown = [engine for engine in args.engines if engine not in ENGINES]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(ENGINES)}")
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        args.data = os.path.abspath(args.data) if args.data else scratch
        version = run([args.thalweg, "--version"])[2].strip()
        print(f"{version}; {os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}")
        for keys in args.keys.split(","):
            measure(args, int(keys), scratch)


if __name__ == "__main__":
    main()
