//! The options of the `http` connector.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ::arrow::datatypes::Schema;

use crate::error::Result;
use crate::stream::connector::format::json::{Json, Unknown};
use crate::stream::connector::options::Settings;

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
    pub(super) listen: SocketAddr,
    pub(super) body_bytes: u64,
    pub(super) ahead: i64,
    pub(super) head_time: Duration,
    pub(super) body_time: Duration,
    pub(super) token: Option<Token>,
    pub(super) tls: Option<Tls>,
    pub(super) json: Json,
}

/// What a sender has to know. It is never shown.
#[derive(Clone)]
pub struct Token(pub(super) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(super) certificates: PathBuf,
    pub(super) key: PathBuf,
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
