//! Requests to a service: over TLS, sent again where that helps, with the key in no text that leaves here.

use std::time::Duration;

use aerostack_bindings::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

use super::Patience;
use crate::InferenceCode;

/// A service that wants a longer pause than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// So much of an answer is read in one piece; a hundred vectors of three thousand numbers are a tenth of it.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Speaks to services.
pub(super) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Patience,
}

/// An answer that has begun.
pub(super) struct Reply {
    headers: HeaderMap,
    body: Incoming,
    host: String,
    patience: Patience,
}

/// Why a service did not do it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    code: String,
    /// The member of the request it is about.
    pub(super) parameter: Option<String>,
}

impl Client {
    pub(super) fn new(patience: Patience) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience.connect));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| Error::new(ErrorKind::Unexpected, "TLS cannot be set up").with_source(error))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // A connection lives on the runtime it was made on: kept for the next request, it would outlive its isolate.
        let http = HyperClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { http, patience })
    }

    /// Sends a body until the service takes it, refuses it for good, or the attempts are used up.
    pub(super) async fn post(&self, address: &Url, key: Option<&str>, body: &Value) -> Result<Result<Reply, Refusal>> {
        let text = Bytes::from(body.to_string());
        let mut pause = self.patience.first_pause;
        let mut attempt = 1;
        loop {
            let is_last = attempt >= self.patience.attempts;
            let wanted = match self.post_once(address, key, text.clone()).await {
                Ok((refusal, headers)) => match refusal {
                    Ok(reply) => return Ok(Ok(reply)),
                    Err(refusal) if is_last || !refusal.may_pass() => return Ok(Err(refusal)),
                    Err(refusal) => match pause_asked_for(&headers) {
                        Some(asked) if asked > LONGEST_PAUSE => return Ok(Err(refusal)),
                        asked => asked,
                    },
                },
                // Nothing of the request was answered, so nothing is done twice that the caller can see.
                Err(error) if is_last || error.kind() != ErrorKind::Unavailable => return Err(error),
                Err(_) => None,
            };
            let host = address.host_str().unwrap_or_default();
            tracing::debug!(host, attempt, "the service is asked again");
            sleep(wanted.unwrap_or(pause)).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn post_once(
        &self,
        address: &Url,
        key: Option<&str>,
        text: Bytes,
    ) -> Result<(Result<Reply, Refusal>, HeaderMap)> {
        let host = address.host_str().unwrap_or_default().to_owned();
        let mut request = Request::post(address.as_str())
            .header(USER_AGENT, "aerostack")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(text))
            .map_err(|error| {
                Error::new(ErrorKind::ConfigInvalid, format!("{host} cannot be asked")).with_source(error)
            })?;
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
                Error::new(ErrorKind::ConfigInvalid, format!("the key for {host} has characters that no key has"))
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = timeout(self.patience.answer, self.http.request(request)).await;
        let response = response.map_err(|_| timed_out(&host, self.patience.answer))?.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{host} cannot be reached")).with_source(error)
        })?;
        let (parts, body) = response.into_parts();
        let reply = Reply { headers: parts.headers.clone(), body, host, patience: self.patience };
        if parts.status.is_success() {
            return Ok((Ok(reply), parts.headers));
        }
        // An error whose text does not arrive is one without a text.
        let text = reply.bytes().await.unwrap_or_default();
        Ok((Err(Refusal::read(parts.status, &text, key)), parts.headers))
    }
}

impl Reply {
    pub(super) fn is_event_stream(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The whole answer.
    pub(super) async fn json(self) -> Result<Value> {
        let host = self.host.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{host} answered with something else than JSON"))
                .with_source(error)
        })
    }

    async fn bytes(mut self) -> Result<Bytes> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > LONGEST_ANSWER {
                return Err(Error::new(ErrorKind::Unavailable, format!("the answer of {} is too long", self.host)));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// The next bytes; none at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = timeout(self.patience.piece, self.body.frame()).await;
            match frame.map_err(|_| timed_out(&self.host, self.patience.piece))? {
                None => return Ok(None),
                Some(Err(error)) => {
                    let text = format!("the answer of {} was cut off", self.host);
                    return Err(Error::new(ErrorKind::Unavailable, text).with_source(error));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

impl Refusal {
    fn read(status: StatusCode, text: &[u8], key: Option<&str>) -> Self {
        let json: Value = serde_json::from_slice(text).unwrap_or_default();
        // `{error: {message, code, type, param}}`; some services leave out the outer object, or have a text in it.
        let error = json.get("error").unwrap_or(&json);
        let member = |name: &str| error[name].as_str().map(str::to_owned);
        let mut message = member("message").or_else(|| error.as_str().map(str::to_owned)).unwrap_or_default();
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            message = message.replace(key, "***");
        }
        let code = member("code").or_else(|| member("type")).unwrap_or_default();
        Self { status, message, code, parameter: member("param") }
    }

    /// Whether the same request may be taken a little later.
    fn may_pass(&self) -> bool {
        let is_spent = self.code == "insufficient_quota";
        self.status.is_server_error() || (self.status == StatusCode::TOO_MANY_REQUESTS && !is_spent)
    }

    pub(super) fn error(&self, host: &str, model: &str) -> Error {
        let said = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        let status = self.status.as_u16();
        match self.status {
            // What services say here may have parts of the key in it.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let text = format!("{host} does not accept the key of the model {model} ({status}): see its `api_key`");
                Error::new(ErrorKind::ConfigInvalid, text)
            }
            StatusCode::NOT_FOUND => {
                InferenceCode::NoSuchModel.error(format!("No such model {model} or task at {host}{said}"))
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                InferenceCode::RequestTooLarge.error(format!("{host} refused the request{said}"))
            }
            StatusCode::BAD_REQUEST if self.code == "context_length_exceeded" => {
                InferenceCode::RequestTooLarge.error(format!("{host} refused the request{said}"))
            }
            StatusCode::TOO_MANY_REQUESTS if !self.may_pass() => {
                InferenceCode::AccountLimited.error(format!("the allowance at {host} is used up{said}"))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                InferenceCode::OutOfCapacity.error(format!("{host} takes no more requests now{said}"))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => {
                InferenceCode::Timeout.error(format!("{host} gave no answer in time{said}"))
            }
            status if status.is_client_error() => {
                InferenceCode::InvalidData.error(format!("{host} refused the request{said}"))
            }
            _ => Error::new(ErrorKind::Unavailable, format!("{host} failed ({status}){said}")),
        }
    }
}

fn timed_out(host: &str, waited: Duration) -> Error {
    InferenceCode::Timeout.error(format!("{host} gave no answer in {} s", waited.as_secs_f32()))
}

/// Seconds only: the services that this is for write no dates.
fn pause_asked_for(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
