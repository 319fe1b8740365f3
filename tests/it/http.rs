//! The `http` connector under what senders do: bodies that are cut, slow, packed, too long, sent
//! again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, NullArray, RecordBatch};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use tempfile::TempDir;

use super::received::{Listening, arrow_stream, sunk, wait_for};
use super::support::has_program;

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn row(n: u32) -> String {
    format!("{{\"n\":{n},\"ts\":\"2026-01-01T00:00:0{}\"}}", n % 10)
}

fn connect(pipeline: &Listening) -> TcpStream {
    let stream = TcpStream::connect(pipeline.at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends bytes, and reads what is answered until the other side closes.
fn raw(pipeline: &Listening, sent: &[u8]) -> String {
    let mut stream = connect(pipeline);
    let _ = stream.write_all(sent); // it may have been answered before
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // reset, where it was sent too much
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?}"))
}

/// One POST whose connection is closed behind it.
fn post(pipeline: &Listening, headers: &str, body: &[u8]) -> (u16, String) {
    let mut sent = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    sent.extend(body);
    let answer = raw(pipeline, &sent);
    (status(&answer), answer)
}

/// What a program makes of bytes.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}

#[test]
fn a_body_is_taken_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let pipeline = Listening::start(folder.path(), "");
    let csv = "n,ts\n1,2026-01-01T00:00:01\n2,2026-01-01T00:00:02\n";
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n";
    let cut = &csv[..csv.len() - 4];
    for sent in [
        format!("{head}Content-Length: {}\r\n\r\n{cut}", csv.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{cut}", csv.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{csv}\r\n", csv.len()),
    ] {
        let mut stream = connect(&pipeline);
        stream.write_all(sent.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || status(&answer) == 400, "{answer}");
    }
    // An Arrow stream without its last bytes, or with more behind them.
    let stream = arrow_stream();
    let arrow = format!("Content-Type: {ARROW}\r\n");
    for end in [1, 4, 8, 20] {
        let (status, told) = post(&pipeline, &arrow, &stream[..stream.len() - end]);
        assert!(status == 400 && told.contains("expected"), "{end}: {told}");
    }
    assert_eq!(post(&pipeline, &arrow, &[stream.as_slice(), b"more"].concat()).0, 400);
    // Whatever is damaged, somebody is told, and the pipeline goes on.
    for at in 0..stream.len() {
        let mut damaged = stream.clone();
        damaged[at] ^= 0x81;
        if at % 7 == 0 {
            post(&pipeline, &arrow, &damaged);
        }
    }
    let (_, told) = post(&pipeline, "", row(5).as_bytes());
    assert!(told.contains("\"rows\":1"), "{told}");
    let sent = format!(
        "{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{csv}\r\n0\r\n\r\n",
        csv.len()
    );
    assert!(raw(&pipeline, sent.as_bytes()).contains("\"rows\":2"));
}

#[test]
fn slow_senders_stop_nobody() {
    let folder = TempDir::new().unwrap();
    let limits = ", head_timeout = '10', body_timeout = '2'";
    let pipeline = Listening::start(folder.path(), limits);
    let silent: Vec<_> = (0..120).map(|_| connect(&pipeline)).collect();
    let mut slow: Vec<_> = (0..120).map(|_| connect(&pipeline)).collect();
    for stream in &mut slow {
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{").unwrap();
    }
    assert_eq!(post(&pipeline, "", row(1).as_bytes()).0, 200);
    let answer = rest(&mut slow[7]);
    assert!(status(&answer) == 408 && answer.contains("connection: close"), "{answer}");
    for mut stream in silent.into_iter().take(3) {
        assert_eq!(rest(&mut stream), "");
    }
    assert_eq!(wait_for(folder.path(), 1).len(), 1);
}

#[test]
fn bodies_have_a_length() {
    let folder = TempDir::new().unwrap();
    let pipeline = Listening::start(folder.path(), ", max_body = 100000");
    // Answered without the rest.
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n";
    let answer = raw(&pipeline, head.as_bytes());
    assert!(status(&answer) == 413 && answer.contains("connection: close"), "{answer}");
    assert_eq!(post(&pipeline, "", &vec![b' '; 3_000_000]).0, 413);
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n";
    let answer = raw(&pipeline, &[chunked.as_bytes(), &vec![b' '; 0x20000]].concat());
    assert_eq!(status(&answer), 413);
    // Packed, and unpacked.
    let rows: Vec<_> = (1..=3).map(row).collect();
    for name in ["gzip", "zstd"].into_iter().filter(|name| has_program(name)) {
        let header = format!("Content-Encoding: {name}\r\n");
        let bytes = packed(name, format!("[{}]", rows.join(",")).as_bytes());
        let (status, told) = post(&pipeline, &header, &bytes);
        assert!(status == 200 && told.contains("\"rows\":3"), "{name}: {told}");
        let (status, told) = post(&pipeline, &header, &bytes[..bytes.len() - 3]);
        assert_eq!(status, 400, "{name}: {told}");
        let bomb = packed(name, &vec![b' '; 200_000]);
        assert!(bomb.len() < 1000);
        let (status, told) = post(&pipeline, &header, &bomb);
        assert_eq!(status, 413, "{name}: {told}");
    }
    let (status, told) = post(&pipeline, "Content-Encoding: br\r\n", b"[]");
    assert!(status == 415 && told.contains("gzip, zstd"), "{told}");
}

/// A stream with these columns, packed by a codec.
fn stream_of(columns: Vec<(&str, ArrayRef)>, codec: Option<CompressionType>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    );
    let batch = batch.unwrap();
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn arrow_bodies_mean_no_more_than_they_may() {
    let folder = TempDir::new().unwrap();
    let pipeline = Listening::start(folder.path(), ", max_body = 100000, on_error = 'skip'");
    let arrow = format!("Content-Type: {ARROW}\r\n");
    let numbers = |rows: usize| Arc::new(Int64Array::from(vec![7; rows])) as ArrayRef;
    let zstd = Some(CompressionType::ZSTD);
    let (status, told) = post(&pipeline, &arrow, &stream_of(vec![("n", numbers(100))], zstd));
    // Without their time.
    assert!(status == 200 && told.contains("\"rejected\":100"), "{told}");
    let bomb = stream_of(vec![("n", numbers(1_000_000))], zstd);
    assert!(bomb.len() < 100_000);
    let (status, told) = post(&pipeline, &arrow, &bomb);
    assert!(status == 400 && told.contains("when unpacked"), "{told}");
    let lz4 = stream_of(vec![("n", numbers(100))], Some(CompressionType::LZ4_FRAME));
    let (status, told) = post(&pipeline, &arrow, &lz4);
    assert!(status == 400 && told.contains("found lz4"), "{told}");
    let nulls = stream_of(vec![("n", Arc::new(NullArray::new(1 << 40)))], None);
    let (status, told) = post(&pipeline, &arrow, &nulls);
    assert!(status == 400 && told.contains("rows in one body"), "{told}");
    let text = "x".repeat(50_000);
    let texts: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> =
        std::iter::repeat_n(text.as_str(), 1000).collect();
    let (status, told) = post(&pipeline, &arrow, &stream_of(vec![("n", Arc::new(texts))], None));
    assert!(status == 400 && told.contains("expected values of at most"), "{told}");
}

#[test]
fn a_connection_takes_one_request_after_another() {
    let folder = TempDir::new().unwrap();
    let pipeline = Listening::start(folder.path(), ", token = 's3cret'");
    let mut stream = connect(&pipeline);
    let send = |stream: &mut TcpStream, token: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: {length}"
        );
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with("}\n") {
            let mut bytes = [0; 1000];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        answer
    };
    for n in 1..=3 {
        let answer = send(&mut stream, "Bearer s3cret", &row(n));
        assert!(answer.contains(&format!("\"offset\":{n}")), "{answer}");
    }
    for wrong in ["Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret", "Bearer"] {
        let answer = send(&mut connect(&pipeline), wrong, &row(4));
        assert!(status(&answer) == 401 && answer.contains("bearer") | answer.contains("Bearer"));
    }
    assert_eq!(pipeline.ask("GET", "text/plain", b"").0, 401);
    wait_for(folder.path(), 3);
    assert_eq!(sunk(folder.path()).len(), 3);
}

#[test]
fn what_is_sent_again_is_taken_once() {
    let folder = TempDir::new().unwrap();
    let pipeline = Listening::start(folder.path(), "");
    let keyed = |pipeline: &Listening, key: &str, body: &str| {
        let (status, told) =
            post(pipeline, &format!("Idempotency-Key: {key}\r\n"), body.as_bytes());
        (status, told.split("\r\n\r\n").nth(1).unwrap().trim().to_string())
    };
    let first = keyed(&pipeline, "a", &row(1));
    assert_eq!(first, (200, "{\"offset\":1,\"rejected\":0,\"rows\":1}".to_string()));
    let second = keyed(&pipeline, "b", &row(2));
    assert_eq!(keyed(&pipeline, "a", &row(1)), first);
    assert_eq!(keyed(&pipeline, "a", &row(3)).0, 422);
    // What was not taken has no key.
    assert_eq!(keyed(&pipeline, "c", "{").0, 400);
    drop(pipeline); // kill -9
    let pipeline = Listening::start(folder.path(), "");
    assert_eq!(keyed(&pipeline, "a", &row(1)), first);
    assert_eq!(keyed(&pipeline, "b", &row(2)), second);
    assert_eq!(keyed(&pipeline, "c", &row(3)).0, 200);
    wait_for(folder.path(), 3);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(sunk(folder.path()).len(), 3);
}

/// By another program: HTTP/1.1 and HTTP/2, plain and by TLS, many requests on a connection.
#[test]
fn others_speak_http2_and_tls() {
    if !has_program("curl") || !has_program("openssl") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .args([&key, std::path::Path::new("-out"), &cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls = format!(", tls_cert = '{}', tls_key = '{}'", cert.display(), key.display());
    let mut sent = 0;
    for (scheme, options, versions) in [
        ("https", tls.as_str(), ["--http1.1", "--http2"]),
        ("http", "", ["--http1.1", "--http2-prior-knowledge"]),
    ] {
        let pipeline = Listening::start(folder.path(), options);
        let url = format!("{scheme}://{}/", pipeline.at);
        for version in versions {
            let mut command = Command::new("curl");
            command.args(["-sS", "--max-time", "60", version, "--cacert"]).arg(&cert);
            // Some releases of curl cannot use such a connection again.
            let requests = if version == "--http2-prior-knowledge" { 1 } else { 20 };
            for n in 0..requests {
                if n > 0 {
                    command.arg("--next").args(["-sS", version, "--cacert"]).arg(&cert);
                }
                command.args(["-w", "%{http_version} %{num_connects}\n", "-d", &row(n), &url]);
            }
            let output = command.output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            sent += requests as usize;
            assert!(told.contains(&format!("\"offset\":{sent},")), "{told}");
            let spoken = if version == "--http1.1" { "1.1" } else { "2" };
            // On the first connection.
            assert_eq!(
                told.matches(&format!("{spoken} 0\n")).count(),
                requests as usize - 1,
                "{version}: {told}"
            );
        }
        wait_for(folder.path(), sent);
    }
    assert_eq!(sunk(folder.path()).len(), sent);
}

/// A signal lets requests in work come to an end, and their rows are kept.
#[test]
fn what_is_in_work_is_answered_before_it_stops() {
    let folder = TempDir::new().unwrap();
    let mut pipeline = Listening::start(folder.path(), "");
    let mut idle = connect(&pipeline);
    let mut stream = connect(&pipeline);
    let body = row(1);
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..5]).unwrap();
    std::thread::sleep(Duration::from_millis(300)); // it is in work
    pipeline.signal();
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(&body.as_bytes()[5..]).unwrap();
    let answer = rest(&mut stream);
    assert!(status(&answer) == 200 && answer.contains("\"rows\":1"), "{answer}");
    assert_eq!(rest(&mut idle), "");
    assert!(pipeline.ended());
    let pipeline = Listening::start(folder.path(), "");
    assert_eq!(wait_for(folder.path(), 1).len(), 1);
    drop(pipeline);
}
