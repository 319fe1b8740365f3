//! The `http` connector: rows that are POSTed as JSON (an object, an array, lines), CSV with a
//! header, or an Arrow IPC stream.
//!
//! A request is answered 200 when its rows are on the disk, in a log in the pipeline's state folder
//! (see `received`); the pipeline reads them from there, after a restart too. A request's rows are
//! taken all or none: with `on_error = 'skip'` malformed ones are kept aside and the others taken.
//! Malformed rows are not in the log and have no offset.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::record_batch::RecordBatch;
use encoding_rs::Encoding;
use parking_lot::Mutex;
use serde_json::json;
use tiny_http::{Header, Method, Request, Response, Server};

use super::csv::Csv;
use super::encoding;
use super::file::{Missing, pick};
use super::json::{Json, Unknown};
use super::received::{self, Reader, Received};
use super::text::{Dialect, Handed, Piece, Position, piece};
use super::{Connector, Opening, Read, Rejects, Source};
use crate::error::{Error, Result};
use crate::stream::definition::OnError;
use crate::stream::settings::Settings;
use crate::task;

/// Requests that are worked on beside one another: most wait for the disk, all for the same turn.
const WORKERS: usize = 8;

/// How often a worker looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes of a body, unless told.
const BODY_BYTES: u64 = 16 << 20;

/// Rows in the log that the pipeline has not read, unless told; with more, senders have to wait.
const AHEAD: i64 = 1_000_000;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct Http {
    listen: SocketAddr,
    body_bytes: u64,
    ahead: i64,
    json: Json,
}

impl Http {
    pub fn new(settings: &mut Settings, schema: &Schema) -> Result<Self> {
        let listen = settings.parsed("listen", "an address such as 127.0.0.1:8080")?;
        let listen = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let body_bytes = settings.parsed("max_body", "a number of bytes")?.unwrap_or(BODY_BYTES);
        let ahead = settings.parsed("max_ahead", "a number of rows")?.unwrap_or(AHEAD);
        let json = Json { unknown: Unknown::new(settings, schema, true)? };
        Ok(Self { listen, body_bytes, ahead, json })
    }
}

impl Connector for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn typed(&self) -> bool {
        true
    }

    fn bounded(&self) -> Result<(), String> {
        Err("http has no end: INSERT what it receives into a sink by `thalweg run` without \
             --until-end"
            .to_string())
    }

    fn received(&self) -> bool {
        true
    }

    fn forget(&self, state: &Path, before: i64) -> Result<()> {
        received::forget(state, before)
    }

    /// The log is the pipeline's own, wherever it listens.
    fn identity(&self) -> String {
        "what is received".to_string()
    }

    /// Errors: no state folder; an address that cannot be listened at.
    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        let Some(folder) = opening.state.clone() else {
            return Err(Error::User(
                "http keeps what it receives in a pipeline's state folder: read it by an INSERT in \
                 `thalweg run`"
                    .to_string(),
            ));
        };
        let log = Reader::new(&folder, &opening.schema, opening.from.offset);
        let service = match opening.follow {
            true => Some(Service::start(self, &folder, opening)?),
            false => None,
        };
        Ok(Box::new(Log { log, service }))
    }
}

struct Log {
    log: Reader,
    /// Where new rows are waited for.
    service: Option<Arc<Service>>,
}

impl Source for Log {
    fn next(&mut self, limit: usize) -> Result<Read> {
        let until = self.service.as_ref().map_or(i64::MAX, |service| service.received.synced());
        let rows = self.log.next(limit, until)?;
        if let Some(service) = &self.service {
            service.read.store(self.log.offset(), Ordering::Relaxed);
        }
        match (rows, &self.service) {
            (Some(rows), _) => Ok(Read::Rows(rows)),
            (None, Some(_)) => Ok(Read::Idle),
            (None, None) => Ok(Read::End),
        }
    }

    fn offset(&self) -> i64 {
        self.log.offset()
    }

    fn rejected(&self) -> u64 {
        self.service.as_ref().map_or(0, |service| service.rejects.lock().count())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(service) = &self.service {
            service.over.store(true, Ordering::Relaxed);
            service.server.unblock();
        }
    }
}

/// What takes requests.
struct Service {
    server: Server,
    http: Http,
    opening: Opening,
    received: Received,
    rejects: Mutex<Rejects>,
    /// Offset up to which the pipeline has read.
    read: AtomicI64,
    over: AtomicBool,
}

/// A request that is not taken: status, what is wrong, which line or row.
struct Refusal {
    status: u16,
    error: String,
    line: Option<u64>,
}

impl Refusal {
    fn new(status: u16, error: impl std::fmt::Display) -> Self {
        Self { status, error: error.to_string(), line: None }
    }
}

impl Service {
    fn start(http: &Http, folder: &Path, opening: Opening) -> Result<Arc<Self>> {
        let server = Server::http(http.listen)
            .map_err(|error| Error::User(format!("listen = '{}': {error}", http.listen)))?;
        let service = Arc::new(Self {
            server,
            http: http.clone(),
            received: Received::open(folder, opening.from.offset)?,
            rejects: Mutex::new(Rejects::behind(&opening)),
            read: AtomicI64::new(opening.from.offset),
            over: AtomicBool::new(false),
            opening,
        });
        let at = service.server.server_addr();
        tracing::info!("listening at http://{at}");
        for _ in 0..WORKERS {
            let service = service.clone();
            task::thread("http", move || service.work())?;
        }
        Ok(service)
    }

    fn work(&self) {
        while !self.over.load(Ordering::Relaxed) {
            match self.server.recv_timeout(LOOK) {
                Ok(Some(request)) => self.answer(request),
                Ok(None) => {}
                Err(error) => tracing::warn!("http: {error}"),
            }
        }
    }

    fn answer(&self, mut request: Request) {
        let (status, body) = match request.method().clone() {
            Method::Get => (200, self.help()),
            Method::Post => match self.post(&mut request) {
                Ok(body) => (200, body),
                Err(Refusal { status, error, line }) => {
                    let body = match line {
                        Some(line) => json!({ "error": error, "line": line }),
                        None => json!({ "error": error }),
                    };
                    (status, body.to_string())
                }
            },
            _ => (405, json!({ "error": "GET or POST" }).to_string()),
        };
        let mut response = Response::from_string(body + "\n").with_status_code(status);
        let mut header = |name: &str, value: &str| {
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        };
        header("Content-Type", "application/json");
        if status == 503 {
            header("Retry-After", "1");
        }
        if let Err(error) = request.respond(response) {
            tracing::debug!("http: {error}"); // the sender has gone
        }
    }

    fn help(&self) -> String {
        let fields = self.opening.schema.fields().iter();
        let columns: serde_json::Map<_, _> =
            fields.map(|f| (f.name().clone(), json!(f.data_type().to_string()))).collect();
        let help = json!({
            "takes": "POST",
            "columns": columns,
            "content_types": TYPES.map(|(name, _)| name),
            "max_body": self.http.body_bytes,
            "rows": self.received.synced(),
            "read": self.read.load(Ordering::Relaxed),
        });
        help.to_string()
    }

    /// Takes the rows of a request; they are on the disk when this returns.
    fn post(&self, request: &mut Request) -> Result<String, Refusal> {
        let waiting = self.received.synced() - self.read.load(Ordering::Relaxed);
        if waiting > self.http.ahead {
            let error = format!("{waiting} rows wait to be read: send again in a second");
            return Err(Refusal::new(503, error));
        }
        let form = form(request)?;
        let body = self.body(request)?;
        let body = match (form, charset(request)?) {
            (Form::Arrow, _) => body,
            (_, encoding) => match encoding::decodes(encoding, &body) {
                Some(encoding) => {
                    encoding::decoded(encoding, &body).map_err(|error| Refusal::new(400, error))?
                }
                None => body,
            },
        };
        let pieces = form.parse(&self.http.json, &self.opening, &body);
        let pieces = pieces.map_err(|error| Refusal::new(400, error))?;
        let (mut batches, mut rejected) = (Vec::new(), Vec::new());
        for piece in pieces {
            if let (OnError::Fail, Some(wrong)) = (self.opening.on_error, piece.wrong.first()) {
                let line = Some(piece.lines_before + wrong.at.line);
                return Err(Refusal { line, ..Refusal::new(400, &wrong.reason) });
            }
            let place = format!("http, {}", form.unit());
            let (rows, wrong) = Handed::new(piece).take(usize::MAX, 0, &place);
            batches.push(rows.batch);
            rejected.extend(wrong);
        }
        let failed = |error: Error| Refusal::new(503, error);
        let batch = arrow::compute::concat_batches(&self.opening.schema, &batches);
        let batch = batch.map_err(|error| failed(error.into()))?;
        // Where they would stand.
        rejected.iter_mut().for_each(|rejected| rejected.offset = self.received.synced());
        self.rejects.lock().keep(&rejected).map_err(failed)?;
        let mut to = self.received.synced();
        if batch.num_rows() > 0 {
            to = self.received.append(&batch).map_err(failed)?;
            self.received.sync(to).map_err(failed)?;
        }
        let (rows, rejected) = (batch.num_rows(), rejected.len());
        Ok(json!({ "rows": rows, "rejected": rejected, "offset": to }).to_string())
    }

    fn body(&self, request: &mut Request) -> Result<Vec<u8>, Refusal> {
        let most = self.http.body_bytes;
        let long =
            || Refusal::new(413, format!("a body of at most {most} bytes: send it in parts"));
        if request.body_length().is_some_and(|length| length as u64 > most) {
            return Err(long());
        }
        let mut body = Vec::new();
        let read = request.as_reader().take(most + 1).read_to_end(&mut body);
        read.map_err(|error| Refusal::new(400, error))?;
        match body.len() as u64 > most {
            true => Err(long()),
            false => Ok(body),
        }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Csv,
    Arrow,
}

/// Forms by the names of their media types; the first is meant where none is named.
const TYPES: [(&str, Form); 5] = [
    ("application/json", Form::Json),
    ("application/x-ndjson", Form::Lines),
    ("application/jsonl", Form::Lines),
    ("text/csv", Form::Csv),
    ("application/vnd.apache.arrow.stream", Form::Arrow),
];

fn form(request: &Request) -> Result<Form, Refusal> {
    let header = |name: &'static str| {
        let mut headers = request.headers().iter();
        let found = headers.find(|header| header.field.equiv(name));
        found.map(|header| header.value.as_str().to_ascii_lowercase())
    };
    if let Some(coding) = header("Content-Encoding").filter(|coding| coding != "identity") {
        return Err(Refusal::new(415, format!("Content-Encoding {coding}: send it plain")));
    }
    // What `curl -d` says of everything.
    let plain = |name: &String| name != "application/x-www-form-urlencoded";
    let Some(named) = header("Content-Type").filter(plain) else { return Ok(Form::Json) };
    let name = named.split(';').next().unwrap_or_default().trim();
    let known = TYPES.iter().find(|(known, _)| *known == name);
    known.map(|(_, form)| *form).ok_or_else(|| {
        let names = TYPES.map(|(name, _)| name).join(", ");
        Refusal::new(415, format!("Content-Type {name}: one of {names} is wanted"))
    })
}

/// The encoding that a request names.
fn charset(request: &Request) -> Result<Option<&'static Encoding>, Refusal> {
    let mut headers = request.headers().iter();
    let named = headers.find(|header| header.field.equiv("Content-Type"));
    let named = named.map(|header| header.value.as_str().to_ascii_lowercase());
    let label = named.as_deref().and_then(|value| {
        let mut parameters = value.split(';').skip(1);
        parameters.find_map(|parameter| parameter.trim().strip_prefix("charset="))
    });
    let Some(label) = label.map(|label| label.trim_matches('"')) else { return Ok(None) };
    match Encoding::for_label_no_replacement(label.as_bytes()) {
        Some(encoding) => Ok(Some(encoding)),
        None => Err(Refusal::new(415, format!("charset {label}: send it as UTF-8"))),
    }
}

impl Form {
    /// What malformed rows are counted by.
    fn unit(self) -> &'static str {
        match self {
            Self::Arrow | Self::Json => "row",
            Self::Lines | Self::Csv => "line",
        }
    }

    fn parse(self, json: &Json, opening: &Opening, body: &[u8]) -> Result<Vec<Piece>> {
        match self {
            Self::Json => {
                let mut pieces = text(json, opening, body)?;
                for piece in &mut pieces {
                    piece.lines_before = 0;
                    // Rows are counted: an array may be one line.
                    piece.wrong.iter_mut().for_each(|wrong| wrong.at.line = wrong.at.ordinal + 1);
                }
                Ok(pieces)
            }
            Self::Lines => text(json, opening, body),
            Self::Csv => text(&Csv { header: true, missing: Missing::Null }, opening, body),
            Self::Arrow => arrow_stream(opening, body),
        }
    }
}

fn text(dialect: &dyn Dialect, opening: &Opening, body: &[u8]) -> Result<Vec<Piece>> {
    let Some((parser, used)) = dialect.begin(opening, body, true)? else { return Ok(Vec::new()) };
    let piece = parser.parse(opening, &body[used..])?;
    Ok(vec![Piece { lines_before: super::text::lines(&body[..used]), ..piece }])
}

/// Batches of an Arrow stream, which are slices of the body: no length that it claims is allocated.
fn arrow_stream(opening: &Opening, body: &[u8]) -> Result<Vec<Piece>> {
    let (mut decoder, mut left) = (StreamDecoder::new(), Buffer::from(body));
    let mut pieces = Vec::new();
    while let Some(batch) = decoder.decode(&mut left)? {
        pieces.push(of_batch(opening, &batch)?);
    }
    decoder.finish()?;
    match decoder.schema() {
        Some(_) => Ok(pieces),
        None => Err(Error::Data("expected an Arrow stream, found an empty body".to_string())),
    }
}

fn of_batch(opening: &Opening, batch: &RecordBatch) -> Result<Piece> {
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    let rows = batch.num_rows() as u64;
    let null = || arrow::array::new_null_array(&arrow::datatypes::DataType::Null, rows as usize);
    let fields = pick(&opening.source_schema(), &names, Missing::Null)?;
    let columns = fields.iter().map(|at| at.map_or_else(null, |at| batch.column(at).clone()));
    let places = (0..rows).map(|ordinal| Position { ordinal, line: ordinal + 1 });
    let (columns, places) = (columns.collect::<Vec<_>>(), places.collect::<Vec<_>>());
    piece(opening, &columns, &places, Vec::new(), rows, rows)
}
