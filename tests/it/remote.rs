//! Tables behind HTTP and S3, from a server of our own that knows just enough of both.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Files by path, such as `bucket/data/a.csv`. There is one bucket, named `bucket`.
type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

struct Server {
    address: String,
    files: Files,
}

impl Server {
    /// Serves on a port of its own until the process ends. `ranges`: parts of files are answered.
    fn start(ranges: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let files = Files::default();
        let served = Arc::clone(&files);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = Arc::clone(&served);
                std::thread::spawn(move || answer_all(&stream, &files, ranges));
            }
        });
        Self { address, files }
    }

    fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(path.into(), content.into());
    }

    /// Puts all files below a folder.
    fn put_folder(&self, folder: &Path, path: &str) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let path = format!("{path}/{}", file.file_name().unwrap().to_str().unwrap());
            match file.is_dir() {
                true => self.put_folder(&file, &path),
                false => self.put(&path, std::fs::read(&file).unwrap()),
            }
        }
    }

    /// Exit code, stdout and stderr of a script, with S3 at this server.
    fn sql(&self, folder: &Path, sql: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["sql", "--device", "cpu", "--format", "csv", "-c", sql])
            .current_dir(folder)
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    #[track_caller]
    fn rows(&self, sql: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, err) = self.sql(folder.path(), sql);
        assert_eq!((code, err.as_str()), (0, ""), "{sql}\n{out}");
        out
    }

    #[track_caller]
    fn error(&self, sql: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, err) = self.sql(folder.path(), sql);
        assert_eq!((code, out.as_str()), (1, ""), "{sql}\n{err}");
        err
    }
}

/// Answers request after request of one connection.
fn answer_all(stream: &TcpStream, files: &Files, ranges: bool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some((request, body)) = read_request(&mut reader) {
        let (status, headers, content) = answer(&request, body, files, ranges);
        let length = match request[0].starts_with("HEAD") {
            true => headers.iter().find_map(|h| h.strip_prefix("X-Length: ")).unwrap_or("0").into(),
            false => content.len().to_string(),
        };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        let mut stream = stream;
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content)).is_err() {
            return;
        }
    }
}

/// The lines of a request's head, and its body.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(Vec<String>, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = header(&lines, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((lines, body))
}

fn header<'a>(request: &'a [String], name: &str) -> Option<&'a str> {
    let pairs = request.iter().filter_map(|line| line.split_once(": "));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

type Answer = (&'static str, Vec<String>, Vec<u8>);

fn answer(request: &[String], body: Vec<u8>, files: &Files, ranges: bool) -> Answer {
    let mut words = request[0].split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches('/').replace("%3D", "=");
    let mut files = files.lock().unwrap();
    let bucket = path.split('/').next().unwrap();
    if query.contains("list-type") {
        return match bucket {
            "bucket" => list(query, &files),
            _ => {
                let text = "<Error><Code>NoSuchBucket</Code><Message>no bucket</Message></Error>";
                ("404 Not Found", vec![], text.into())
            }
        };
    }
    let stamp = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT".to_owned();
    match (method, files.get(&path)) {
        ("PUT", Some(_)) if header(request, "if-none-match").is_some() => {
            ("412 Precondition Failed", vec![], vec![])
        }
        ("PUT", _) => {
            files.insert(path, body);
            ("200 OK", vec!["ETag: \"1\"".into()], vec![])
        }
        ("HEAD", Some(file)) => {
            let length = format!("X-Length: {}", file.len());
            ("200 OK", vec![stamp, "ETag: \"1\"".into(), length], vec![])
        }
        ("GET", Some(file)) => {
            let range = header(request, "range").and_then(|range| range.strip_prefix("bytes="));
            let Some((from, to)) = range.filter(|_| ranges).and_then(|r| r.split_once('-')) else {
                return ("200 OK", vec![stamp, "ETag: \"1\"".into()], file.clone());
            };
            let last = to.parse().map_or(file.len() - 1, |to: usize| to.min(file.len() - 1));
            let from = from.parse().unwrap_or_else(|_| file.len() - to.parse::<usize>().unwrap());
            let range = format!("Content-Range: bytes {from}-{last}/{}", file.len());
            let headers = vec![stamp, "ETag: \"1\"".into(), range];
            ("206 Partial Content", headers, file[from..=last].to_vec())
        }
        ("HEAD" | "GET", None) => ("404 Not Found", vec![], vec![]),
        _ => ("501 Not Implemented", vec![], vec![]),
    }
}

/// All keys of the bucket with a prefix.
fn list(query: &str, files: &BTreeMap<String, Vec<u8>>) -> Answer {
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
    let prefix = prefix.unwrap_or_default().replace("%2F", "/");
    let mut text = String::from("<ListBucketResult>");
    for (path, file) in files {
        let Some(key) = path.strip_prefix("bucket/").filter(|key| key.starts_with(&prefix)) else {
            continue;
        };
        text.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>\"1\"</ETag><Size>{}</Size></Contents>",
            file.len()
        ));
    }
    text.push_str("</ListBucketResult>");
    ("200 OK", vec![], text.into())
}

const CSV: &str = "k,s\n1,a\n2,b\n2,c\n";

#[test]
fn a_bucket_holds_tables() {
    let server = Server::start(true);
    server.put("bucket/top.csv", CSV);
    assert_eq!(server.rows("SELECT count(*) AS n FROM 's3://bucket/'"), "n\n3\n");
    server.put("bucket/logs/a.csv", CSV);
    server.put("bucket/logs/b.csv", "k,s\n3,d\n");
    server.put("bucket/hive/p=7/a.csv", CSV);
    assert_eq!(server.rows("SELECT k, s FROM 's3://bucket/top.csv' WHERE k = 1"), "k,s\n1,a\n");
    for name in ["logs", "logs/", "logs/*.csv"] {
        let out = server.rows(&format!("SELECT count(*) AS n FROM 's3://bucket/{name}'"));
        assert_eq!(out, "n\n4\n", "{name}");
    }
    let out = server.rows("SELECT p, count(*) AS n FROM 's3://bucket/hive/' GROUP BY p");
    assert_eq!(out, "p,n\n7,3\n");
    let out = server.rows(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://bucket/logs/'; \
         COPY (SELECT k, s FROM t ORDER BY s) TO 's3://bucket/out/o.parquet'; \
         SELECT max(s) AS s, count(*) AS n FROM 's3://bucket/out/o.parquet'",
    );
    assert_eq!(out, "count\n4\n\ns,n\nd,4\n");
}

#[test]
fn a_delta_table_lies_in_a_bucket() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let made = server.sql(
        folder.path(),
        "CREATE SINK d WITH (connector = 'delta', path = 'd'); \
         INSERT INTO d SELECT value AS v FROM generate_series(1, 10)",
    );
    assert_eq!(made, (0, String::new(), String::new()));
    server.put_folder(&folder.path().join("d"), "bucket/lake/d");
    assert_eq!(server.rows("SELECT sum(v) AS s FROM 's3://bucket/lake/d'"), "s\n55\n");
    let out = server.rows(
        "CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION 's3://bucket/lake/d'; \
         SELECT sum(v) AS s FROM t",
    );
    assert_eq!(out, "s\n55\n");
}

#[test]
fn a_file_behind_http_is_a_table() {
    let server = Server::start(true);
    server.put("files/a.csv", CSV);
    let url = format!("http://{}/files", server.address);
    let copied = server.rows(&format!(
        "SELECT sum(k) AS k FROM '{url}/a.csv'; COPY (SELECT 5 AS v) TO '{url}/b.parquet'; \
         SELECT v FROM '{url}/b.parquet'"
    ));
    assert_eq!(copied, "k\n5\n\ncount\n1\n\nv\n5\n");
}

#[test]
fn what_a_server_refuses_is_told() {
    let server = Server::start(true);
    let error = server.error("SELECT * FROM 's3://bucket/none.csv'");
    let url = format!("http://{}/bucket/none.csv", server.address);
    let told = format!("'s3://bucket/none.csv': {url}: 404 Not Found; there is no such file");
    assert!(error.contains(&told), "{error}");
    let error = server.error("SELECT * FROM 's3://elsewhere/'");
    assert!(error.contains("404 Not Found (NoSuchBucket: no bucket)"), "{error}");
    let error = server.error(&format!("SELECT * FROM 'http://{}/logs/*.csv'", server.address));
    assert!(error.contains("does not list its files"), "{error}");
    let whole = Server::start(false);
    whole.put("a.csv", CSV);
    let error = whole.error(&format!("SELECT * FROM 'http://{}/a.csv'", whole.address));
    assert!(error.contains("sends whole files only"), "{error}");
}

/// No minutes of silence: the default of object_store would try for three.
#[test]
fn a_host_that_is_not_there_is_told_within_seconds() {
    let server = Server::start(true);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let began = Instant::now();
    let error = server.error(&format!("SELECT * FROM 'http://{closed}/a.csv'"));
    assert!(error.contains("Connection refused"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
