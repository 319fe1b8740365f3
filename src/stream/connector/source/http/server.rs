//! The connections of a server and their limits.
//!
//! At most `CONNECTIONS` are open; others wait to be accepted. One that has no request in work for
//! the time of a head is ended, whatever it sends meanwhile: so slow and idle ones make place.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::ServiceExt;

use super::options::{Http, Tls};
use super::service::Service;
use crate::error::{Error, Result};
use crate::task;

/// Connections that are open.
const CONNECTIONS: usize = 256;

/// Requests of one connection of HTTP/2 that are in work.
const STREAMS: u32 = 8;

/// Bytes that a connection holds of what was not asked for yet, about.
const AHEAD_BYTES: u32 = 64 << 10;

/// For requests in work when the server stops.
const GRACE: Duration = Duration::from_secs(3);

/// How long what is still coming is taken and thrown away after an answer: without it, the
/// answer would be lost to the sender.
const LINGER: Duration = Duration::from_secs(1);

/// A server in work. Dropped, it stops, when requests in work have been answered or some seconds
/// have passed.
pub struct Server {
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    over: mpsc::Receiver<()>,
}

/// What connections share.
struct Serving {
    app: Router,
    tls: Option<TlsAcceptor>,
    head_time: Duration,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Errors: an address that cannot be listened at; files of TLS that cannot be used; no
    /// runtime.
    pub fn start(http: &Http, service: Arc<Service>) -> Result<Self> {
        let wrong = |error: io::Error| Error::user(format!("listen = '{}': {error}", http.listen));
        if Handle::try_current().is_err() {
            return Err(Error::Bug("http is opened outside a runtime".to_string()));
        }
        let tls = http.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(http.listen).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(wrong)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!("listening at {scheme}://{}", listener.local_addr().map_err(wrong)?);
        let (stop, stopped) = watch::channel(false);
        let (ends, over) = mpsc::channel();
        let app = Service::app(service.clone());
        let serving = Serving { app, tls, head_time: http.head_time, stop: stopped };
        task::detached("http", accept(listener, Arc::new(serving), ends));
        Ok(Self { service, stop, over })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true); // it may have ended
        let waited = GRACE + Duration::from_millis(500);
        task::in_place(|| self.over.recv_timeout(waited).ok());
        self.service.close();
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor> {
    let wrong = |name: &str, path: &std::path::Path, error: &dyn std::fmt::Display| {
        Error::user(format!("{name} = '{}': {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificates).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| wrong("tls_cert", &tls.certificates, &error))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key);
    let key = key.map_err(|error| wrong("tls_key", &tls.key, &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| wrong("tls_cert", &tls.certificates, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections until it is to stop, then waits for their ends. `_ends` is dropped behind.
async fn accept(
    listener: tokio::net::TcpListener,
    serving: Arc<Serving>,
    _ends: mpsc::Sender<()>,
) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stop = serving.stop.clone();
    loop {
        let next = async { (places.clone().acquire_owned().await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            () = stopped(&mut stop) => break,
            next = next => next,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, _))) => {
                task::detached("http", connection(serving.clone(), stream, place));
            }
            (Err(_), _) => break,
            (_, Err(error)) => {
                // Such as too many open files: some end in a moment.
                tracing::warn!("http: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(GRACE, places.acquire_many(CONNECTIONS as u32)).await;
    Ok(())
}

/// Returns when the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error: the server is gone
}

/// Serves a connection to its end; `_place` is given back then.
async fn connection(
    serving: Arc<Serving>,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
) -> Result<()> {
    let _ = stream.set_nodelay(true); // an answer is one packet anyway
    let work = Arc::new(Work::new());
    let stream = Lingering::new(stream);
    let served = async {
        match &serving.tls {
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => serve(&serving, stream, &work).await,
                Err(error) => tracing::debug!("http: {error}"),
            },
            None => serve(&serving, stream, &work).await,
        }
    };
    let mut stop = serving.stop.clone();
    let late = async {
        stopped(&mut stop).await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = served => {}
        () = work.rested(serving.head_time) => {}
        () = late => {}
    }
    Ok(())
}

async fn serve<S>(serving: &Serving, stream: S, work: &Arc<Work>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(work);
        let answer = serving.app.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await;
            drop(busy);
            answer as std::result::Result<_, Infallible>
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(serving.head_time);
    builder.http1().max_buf_size(AHEAD_BYTES as usize);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    http2.initial_stream_window_size(AHEAD_BYTES).initial_connection_window_size(4 * AHEAD_BYTES);
    http2.max_header_list_size(AHEAD_BYTES);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stop = serving.stop.clone();
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("http: {error}"); // the sender has gone, or sent no HTTP
    }
}

/// What a connection has in work.
struct Work {
    requests: AtomicUsize,
    /// When it began to have none.
    since: Mutex<Instant>,
}

impl Work {
    fn new() -> Self {
        Self { requests: AtomicUsize::new(0), since: Mutex::new(Instant::now()) }
    }

    /// Returns when nothing was in work for so long.
    async fn rested(&self, limit: Duration) {
        loop {
            let since = *self.since.lock();
            let left = match self.requests.load(Ordering::SeqCst) {
                0 => limit.saturating_sub(since.elapsed()),
                _ => limit / 4,
            };
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

/// A request in work.
struct Busy(Arc<Work>);

impl Busy {
    fn new(work: &Arc<Work>) -> Self {
        work.requests.fetch_add(1, Ordering::SeqCst);
        Self(work.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock() = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that, when it is shut down, takes what is still coming for a moment: closed before,
/// it would be reset, and its last answer lost.
struct Lingering {
    stream: TcpStream,
    until: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    fn new(stream: TcpStream) -> Self {
        Self { stream, until: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let until = this.until.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut bytes = [0; 4096];
        while until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
