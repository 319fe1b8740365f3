//! The `http` connector: rows that are POSTed as JSON (an object, an array, lines), CSV with a
//! header, or an Arrow IPC stream.
//!
//! A request is answered 200 when its rows are on the disk, in a log in the pipeline's state folder
//! (see `received`); the pipeline reads them from there, after a restart too. A request's rows are
//! taken all or none: with `on_error = 'skip'` malformed ones are kept aside and the others taken.
//! Malformed rows are not in the log and have no offset.
//!
//! `server` has the connections and their limits, `service` answers requests, `body` and `arrow`
//! read rows.

mod arrow;
mod body;
mod server;
mod service;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::arrow::datatypes::Schema;

use super::wal::{self, Reader};
use super::{Connector, Opening, Read, Source};
use crate::error::{Error, Result};
use crate::stream::connector::format::json::{Json, Unknown};
use crate::stream::connector::options::Settings;
use server::Server;
use service::Service;

/// Bytes of a body, unless told.
const BODY_BYTES: u64 = 16 << 20;

/// Rows in the log that the pipeline has not read, unless told; with more, senders have to wait.
const AHEAD: i64 = 1_000_000;

/// Seconds for the head of a request, and for its body, unless told.
const HEAD_SECONDS: f64 = 10.0;
const BODY_SECONDS: f64 = 30.0;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct Http {
    listen: SocketAddr,
    body_bytes: u64,
    ahead: i64,
    head_time: Duration,
    body_time: Duration,
    token: Option<Token>,
    tls: Option<Tls>,
    json: Json,
}

/// What a sender has to know. It is never shown.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Files in PEM.
#[derive(Debug, Clone)]
struct Tls {
    certificates: PathBuf,
    key: PathBuf,
}

impl Http {
    pub fn new(settings: &mut Settings, schema: &Schema) -> Result<Self> {
        let listen = settings.parsed("listen", "an address such as 127.0.0.1:8080")?;
        let listen = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let body_bytes = settings.parsed("max_body", "a number of bytes")?.unwrap_or(BODY_BYTES);
        let ahead = settings.parsed("max_ahead", "a number of rows")?.unwrap_or(AHEAD);
        let head_time = seconds(settings, "head_timeout", HEAD_SECONDS)?;
        let body_time = seconds(settings, "body_timeout", BODY_SECONDS)?;
        let token = token(settings, listen)?;
        let tls = match (settings.text("tls_cert"), settings.text("tls_key")) {
            (None, None) => None,
            (Some(certificates), Some(key)) => {
                Some(Tls { certificates: certificates.into(), key: key.into() })
            }
            _ => return Err(settings.error("expected both of tls_cert and tls_key, found one")),
        };
        let json = Json { unknown: Unknown::new(settings, schema, true)? };
        Ok(Self { listen, body_bytes, ahead, head_time, body_time, token, tls, json })
    }
}

fn seconds(settings: &mut Settings, name: &'static str, default: f64) -> Result<Duration> {
    let told = settings.parsed::<f64>(name, "a number of seconds")?.unwrap_or(default);
    match Duration::try_from_secs_f64(told) {
        Ok(time) if !time.is_zero() && told <= 86_400.0 => Ok(time),
        _ => Err(settings
            .error(format!("{name} = '{told}': expected seconds, more than 0 and at most a day"))),
    }
}

/// Errors: others than this machine could send without one, and nobody said that they may.
fn token(settings: &mut Settings, listen: SocketAddr) -> Result<Option<Token>> {
    let token = settings.text("token");
    let anonymous = settings.choice("allow_anonymous", &["false", "true"])? == "true";
    match token {
        Some(token) if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(settings
                .error("token: expected letters, digits and signs, found other ones or none"))
        }
        None if !listen.ip().is_loopback() && !anonymous => Err(settings.error(format!(
            "listen = '{listen}': expected a token, as anyone in the network can send there: set \
             token = '..', or allow_anonymous = 'true' to take rows from everyone"
        ))),
        token => Ok(token.map(Token)),
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
        wal::forget(state, before)
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
        let mut listening = None;
        if opening.follow {
            let service = Service::open(self, &folder, opening)?;
            let server = Server::start(self, service.clone())?;
            listening = Some(Listening { service, _server: server });
        }
        Ok(Box::new(Log { log, listening }))
    }
}

struct Log {
    log: Reader,
    /// Where new rows are waited for.
    listening: Option<Listening>,
}

struct Listening {
    service: Arc<Service>,
    /// Dropped, it stops.
    _server: Server,
}

impl Source for Log {
    fn next(&mut self, limit: usize) -> Result<Read> {
        let service = self.listening.as_ref().map(|listening| &listening.service);
        let until = service.map_or(i64::MAX, |service| service.received.synced());
        let rows = self.log.next(limit, until)?;
        if let Some(service) = service {
            service.read.store(self.log.offset(), Ordering::Relaxed);
        }
        match (rows, service) {
            (Some(rows), _) => Ok(Read::Rows(rows)),
            (None, Some(_)) => Ok(Read::Idle),
            (None, None) => Ok(Read::End),
        }
    }

    fn offset(&self) -> i64 {
        self.log.offset()
    }

    fn rejected(&self) -> u64 {
        let listening = self.listening.as_ref();
        listening.map_or(0, |listening| listening.service.rejects.lock().count())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn made(options: &[(&str, &str)]) -> Result<Http> {
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Http::new(&mut Settings::new("stream s".to_string(), options), &Schema::empty())
    }

    #[test]
    fn strangers_need_a_token() {
        let everywhere = ("listen", "0.0.0.0:80");
        let error = made(&[everywhere]).unwrap_err().to_string();
        assert!(error.contains("set token = '..', or allow_anonymous = 'true'"), "{error}");
        made(&[everywhere, ("allow_anonymous", "true")]).unwrap();
        let http = made(&[everywhere, ("token", "secret")]).unwrap();
        assert!(!format!("{http:?}").contains("secret"));
        assert!(made(&[("token", "")]).is_err() && made(&[("tls_key", "k.pem")]).is_err());
        assert!(made(&[("head_timeout", "0")]).is_err());
    }
}
