//! The `http` connector: rows that are POSTed as JSON (an object, an array, lines), CSV with a
//! header, or an Arrow IPC stream.
//!
//! A request is answered 200 when its rows are on the disk, in a log in the pipeline's state folder
//! (see `wal`); the pipeline reads them from there, after a restart too. A request's rows are
//! taken all or none: with `on_error = 'skip'` malformed ones are kept aside and the others taken.
//! Malformed rows are not in the log and have no offset.
//!
//! `server` has the connections and their limits, `service` answers requests, `body` and `arrow`
//! read rows.

mod arrow;
mod body;
pub(in crate::stream) mod options;
mod refusal;
mod server;
mod service;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::wal::{self, Reader};
use crate::error::{Error, Result};
use crate::stream::connector::api::{Connector, Opening, Read, Source};
use options::Http;
use server::Server;
use service::Service;

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
            return Err(Error::user(
                "http keeps what it receives in a pipeline's state folder: read it by an INSERT in \
                 `thalweg run`",
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
