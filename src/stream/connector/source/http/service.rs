//! What answers requests: the checks before a body is read, its reading, and its rows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use encoding_rs::Encoding;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_http::decompression::RequestDecompressionLayer;

use super::body::{self, CODINGS, Form, TYPES};
use super::options::Http;
use super::refusal::{Refusal, answer};
use crate::error::{Error, Result};
use crate::stream::connector::api::{OnError, Opening};
use crate::stream::connector::format::text::{Handed, Piece};
use crate::stream::connector::source::dead_letter::Rejects;
use crate::stream::connector::source::idempotency::{Entry, Keys};
use crate::stream::connector::source::wal::Received;
use crate::task;

/// Bodies whose rows are taken beside one another: most wait for the disk, all for the same turn.
const WORKERS: usize = 8;

/// Bodies of the greatest length that are in memory; shorter ones are more.
const BODIES: u64 = 4;

/// So many bytes of a body are counted as one, and as many of each are free: short bodies always
/// find place.
const UNIT: usize = 64 << 10;

/// Bytes of an Idempotency-Key.
const KEY_BYTES: usize = 255;

/// What takes requests.
pub struct Service {
    http: Http,
    opening: Opening,
    pub received: Received,
    pub rejects: Mutex<Rejects>,
    /// Offset up to which the pipeline has read.
    pub read: AtomicI64,
    /// Held while rows are appended: a key is taken once.
    keys: Mutex<Keys>,
    workers: Arc<Semaphore>,
    /// Units of bodies in memory.
    room: Arc<Semaphore>,
    closed: AtomicBool,
}

/// A body with what its request says of it.
struct Posted {
    form: Form,
    charset: Option<&'static Encoding>,
    key: Option<String>,
    body: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Service {
    /// Errors: the log cannot be opened.
    pub fn open(http: &Http, folder: &Path, opening: Opening) -> Result<Arc<Self>> {
        let received = Received::open(folder, opening.from.offset)?;
        let units = http.body_bytes.saturating_mul(BODIES) / UNIT as u64 + 1;
        let units = usize::try_from(units).unwrap_or(usize::MAX).min(u32::MAX as usize);
        Ok(Arc::new(Self {
            http: http.clone(),
            keys: Mutex::new(Keys::open(folder, &received)?),
            received,
            rejects: Mutex::new(Rejects::behind(&opening)),
            read: AtomicI64::new(opening.from.offset),
            workers: Arc::new(Semaphore::new(WORKERS)),
            room: Arc::new(Semaphore::new(units)),
            closed: AtomicBool::new(false),
            opening,
        }))
    }

    /// Takes nothing any more.
    pub fn close(&self) {
        let _keys = self.keys.lock();
        self.closed.store(true, Ordering::SeqCst);
    }

    /// All that a request goes through.
    pub fn app(service: Arc<Self>) -> Router {
        let router = Router::new().fallback(Self::take).with_state(service.clone());
        let unpacks = RequestDecompressionLayer::new().pass_through_unaccepted(true);
        router.layer(unpacks).layer(from_fn_with_state(service, Self::check))
    }

    /// What is checked before a body is read.
    async fn check(State(service): State<Arc<Self>>, mut request: Request, next: Next) -> Response {
        let ends = request.version() < Version::HTTP_2;
        if let Err(refusal) = service.admit(&mut request) {
            return refusal.answer(ends && has_body(request.headers()));
        }
        if request.method() == Method::GET {
            return answer(StatusCode::OK, service.help());
        }
        // What is packed has this bound before it is unpacked, too.
        let most = usize::try_from(service.http.body_bytes).unwrap_or(usize::MAX);
        next.run(request.map(|body| Body::new(Limited::new(body, most)))).await
    }

    fn admit(&self, request: &mut Request) -> Result<(), Refusal> {
        let headers = request.headers();
        if let Some(token) = &self.http.token
            && !headers.get(AUTHORIZATION).is_some_and(|told| bears(told.as_bytes(), &token.0))
        {
            return Err(Refusal::new(401, "expected Authorization: Bearer and the token"));
        }
        match *request.method() {
            Method::GET => return Ok(()),
            Method::POST => {}
            _ => return Err(Refusal::new(405, "expected GET or POST")),
        }
        let waiting = self.received.synced() - self.read.load(Ordering::Relaxed);
        if waiting > self.http.ahead {
            let error = format!("{waiting} rows wait to be read: send again in a second");
            return Err(Refusal::new(503, error));
        }
        key(headers)?;
        body::form(headers)?;
        body::charset(headers)?;
        let length =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > self.http.body_bytes) {
            return Err(self.too_long());
        }
        match body::coding(headers)? {
            Some(coding) => {
                let coding = HeaderValue::from_static(coding);
                request.headers_mut().insert(CONTENT_ENCODING, coding);
            }
            None => {
                request.headers_mut().remove(CONTENT_ENCODING);
            }
        }
        Ok(())
    }

    fn too_long(&self) -> Refusal {
        let most = self.http.body_bytes;
        Refusal::new(413, format!("expected a body of at most {most} bytes: send it in parts"))
    }

    fn help(&self) -> serde_json::Value {
        let fields = self.opening.schema.fields().iter();
        let columns: serde_json::Map<_, _> =
            fields.map(|f| (f.name().clone(), json!(f.data_type().to_string()))).collect();
        json!({
            "takes": "POST",
            "columns": columns,
            "content_types": TYPES.map(|(name, _)| name),
            "content_encodings": CODINGS,
            "max_body": self.http.body_bytes,
            "rows": self.received.synced(),
            "read": self.read.load(Ordering::Relaxed),
        })
    }

    /// Takes the rows of a request; they are on the disk when it is answered.
    async fn take(State(service): State<Arc<Self>>, request: Request) -> Response {
        let ends = request.version() < Version::HTTP_2;
        let read = service.read_body(request);
        let posted = match timeout(service.http.body_time, read).await {
            Ok(Ok(posted)) => posted,
            Ok(Err(refusal)) => return refusal.answer(ends),
            Err(_) => {
                let seconds = service.http.body_time.as_secs_f64();
                let error = format!("expected the whole body within {seconds} s");
                return Refusal::new(408, error).answer(ends);
            }
        };
        match Self::post(&service, posted).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.answer(false),
        }
    }

    async fn read_body(&self, request: Request) -> Result<Posted, Refusal> {
        let headers = request.headers();
        let (form, charset) = (body::form(headers)?, body::charset(headers)?);
        let key = key(headers)?;
        let (mut body, mut room) = (Vec::new(), None::<OwnedSemaphorePermit>);
        let mut coming = request.into_body();
        while let Some(frame) = coming.frame().await {
            let frame = frame.map_err(|error| {
                if is_limit(&error) {
                    return self.too_long();
                }
                let text =
                    format!("expected the whole body, found an early or damaged end: {error}");
                Refusal::new(400, text)
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            if (body.len() + bytes.len()) as u64 > self.http.body_bytes {
                return Err(self.too_long());
            }
            body.extend_from_slice(&bytes);
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = (body.len() / UNIT).saturating_sub(held);
            if more > 0 {
                // Nobody waits here with a part of a body: all could wait for one another.
                let more = self.room.clone().try_acquire_many_owned(more as u32);
                let more = more.map_err(|_| {
                    Refusal::new(503, "too many long bodies come at once: send again in a second")
                })?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
        }
        Ok(Posted { form, charset, key, body, _room: room })
    }

    async fn post(service: &Arc<Self>, posted: Posted) -> Result<Response, Refusal> {
        let gone = |_| Refusal::new(503, "the server stops");
        let turn = service.workers.clone().acquire_owned().await.map_err(gone)?;
        let service = service.clone();
        // To its end, even where the sender goes: whoever is answered 200 has all of it.
        let work = move || {
            let _turn = turn;
            Ok(service.rows_of(posted))
        };
        let done = task::blocking("taking a request", work).await;
        done.unwrap_or_else(|error| Err(Refusal::new(503, error)))
    }

    fn rows_of(&self, posted: Posted) -> Result<Response, Refusal> {
        let Posted { form, charset, key, body, _room } = posted;
        let sum = crc32fast::hash(&body);
        if let Some(key) = &key
            && let Some(entry) = self.known(key, sum)?
        {
            return self.again(&entry);
        }
        let body = if form == Form::Arrow { body } else { body::decoded(charset, body)? };
        let parse = || form.parse(&self.http.json, &self.opening, &body, self.http.body_bytes);
        let pieces = task::quietly(parse).unwrap_or_else(|_| {
            Err(Error::Data("expected rows, found a body that cannot be read".to_string()))
        });
        let pieces = pieces.map_err(|error| Refusal::new(400, error))?;
        drop(body);
        self.append(form, key.map(|key| (key, sum)), pieces)
    }

    fn append(
        &self,
        form: Form,
        key: Option<(String, u32)>,
        pieces: Vec<Piece>,
    ) -> Result<Response, Refusal> {
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
        let mut keys = self.keys.lock();
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refusal::new(503, "the server stops: send again in a second"));
        }
        let (rows, wrong) = (batch.num_rows(), rejected.len());
        let entry = key.map(|(key, body)| Entry { key, body, rows, rejected: wrong, to: 0 });
        // The same may have come meanwhile.
        let before = entry.as_ref().map(|entry| same(&keys, &entry.key, entry.body)).transpose()?;
        if let Some(before) = before.flatten() {
            drop(keys);
            return self.again(&before);
        }
        // Where they would stand.
        rejected.iter_mut().for_each(|rejected| rejected.offset = self.received.synced());
        self.rejects.lock().keep(&rejected).map_err(failed)?;
        let to = keys.append(&self.received, &batch, entry).map_err(failed)?;
        drop(keys);
        self.received.sync(to).map_err(failed)?;
        Ok(answer(StatusCode::OK, json!({ "rows": rows, "rejected": wrong, "offset": to })))
    }

    /// What came under a key before.
    fn known(&self, key: &str, body: u32) -> Result<Option<Entry>, Refusal> {
        same(&self.keys.lock(), key, body)
    }

    /// The answer of before, when its rows are on the disk.
    fn again(&self, entry: &Entry) -> Result<Response, Refusal> {
        self.received.sync(entry.to).map_err(|error| Refusal::new(503, error))?;
        let Entry { rows, rejected, to, .. } = entry;
        Ok(answer(StatusCode::OK, json!({ "rows": rows, "rejected": rejected, "offset": to })))
    }
}

/// Whether a body was longer than it may be before it was unpacked.
fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<LengthLimitError>()
            || within.is_some_and(|error| error.is::<LengthLimitError>())
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Errors: another body came under the key.
fn same(keys: &Keys, key: &str, body: u32) -> Result<Option<Entry>, Refusal> {
    match keys.get(key) {
        Some(entry) if entry.body != body => {
            let error = "expected a new Idempotency-Key, found that of another body";
            Err(Refusal::new(422, error))
        }
        found => Ok(found.cloned()),
    }
}

/// The key of a request.
fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get("Idempotency-Key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES => Ok(Some(key.to_string())),
        _ => {
            let error = format!("expected an Idempotency-Key of 1 to {KEY_BYTES} ASCII characters");
            Err(Refusal::new(400, error))
        }
    }
}

/// Whether a request has a body, which is not read where it is refused.
fn has_body(headers: &HeaderMap) -> bool {
    let empty = headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    !empty && (headers.contains_key(CONTENT_LENGTH) || headers.contains_key("Transfer-Encoding"))
}

/// Whether an Authorization bears the token, in a time that does not tell how much of it is right.
fn bears(told: &[u8], token: &str) -> bool {
    let Some((scheme, told)) = told.split_at_checked("Bearer ".len()) else { return false };
    let told = told.trim_ascii();
    let token = token.as_bytes();
    let differ = (0..token.len()).fold(u8::from(told.len() != token.len()), |differ, at| {
        differ | (token[at] ^ told.get(at).copied().unwrap_or_default())
    });
    scheme.eq_ignore_ascii_case(b"Bearer ") && std::hint::black_box(differ) == 0
}
