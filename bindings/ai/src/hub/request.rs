//! Requests to a hub: over TLS, along redirects, with the token where it belongs.

use aerostack_bindings::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, RANGE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::{Origin, Url};

/// So many addresses point to the next one.
const MAX_REDIRECTS: usize = 8;

/// Speaks to one hub and to where it points.
pub(super) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    token: Option<String>,
    home: Origin,
    /// Whether the hub itself is reached without TLS: a double in a test, a mirror in a closed network.
    plain: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// The headers of the first answer; a redirect is an answer.
    Head,
    /// The bytes, wherever they are.
    Get,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Of the hub itself, before any redirect.
    pub(super) first: HeaderMap,
    pub(super) body: Incoming,
}

impl Client {
    pub(super) fn new(base: &Url, token: Option<String>) -> Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| Error::new(ErrorKind::Unexpected, "TLS cannot be set up").with_source(error))?
            .https_or_http()
            .enable_http1()
            .build();
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, token, home: base.origin(), plain: base.scheme() == "http" })
    }

    /// Sends a request, for a GET along redirects. `from` is the first byte that is wanted. Anything but success is an error that says
    /// what helps.
    pub(super) async fn send(&self, method: Method, address: &Url, from: Option<u64>) -> Result<Answer> {
        let mut address = address.clone();
        let mut first = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(method, &address, from).await?;
            let (parts, body) = response.into_parts();
            let first_headers = first.get_or_insert_with(|| parts.headers.clone());
            if parts.status.is_redirection() {
                let points_home = self.resolve(&address, &parts.headers)?;
                // What a file is stands in the answer that has the checksum; a renamed repository points on before that.
                let tells = parts.headers.contains_key("x-linked-etag") || parts.headers.contains_key("etag");
                if method == Method::Head && tells {
                    return Ok(Answer { status: parts.status, first: first_headers.clone(), body });
                }
                if method == Method::Head {
                    first = None;
                }
                address = points_home;
                continue;
            }
            if parts.status.is_success() {
                return Ok(Answer { status: parts.status, first: first_headers.clone(), body });
            }
            return Err(self.refused(&address, parts.status));
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{address} is the end of too many redirects")))
    }

    async fn send_once(&self, method: Method, address: &Url, from: Option<u64>) -> Result<http::Response<Incoming>> {
        let name = if method == Method::Head { http::Method::HEAD } else { http::Method::GET };
        let mut request = Request::builder().method(name).uri(address.as_str()).header(USER_AGENT, "aerostack");
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| address.origin() == self.home) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, format!("{address} cannot be asked for")).with_source(error)
        })?;
        self.http.request(request).await.map_err(|error| {
            let host = address.host_str().unwrap_or_default();
            Error::new(ErrorKind::Unavailable, format!("{host} cannot be reached")).with_source(error)
        })
    }

    fn resolve(&self, address: &Url, headers: &HeaderMap) -> Result<Url> {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let target = location.and_then(|location| address.join(location).ok());
        match target {
            Some(target) if target.scheme() == "https" || (self.plain && target.scheme() == "http") => Ok(target),
            _ => Err(Error::new(ErrorKind::Unavailable, format!("{address} points to nowhere that can be asked"))),
        }
    }

    fn refused(&self, address: &Url, status: StatusCode) -> Error {
        let (kind, help) = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.token.is_none() => (
                ErrorKind::ConfigInvalid,
                "; who gives the model out wants to know you: accept its terms on the hub, then set HF_TOKEN to a token of yours",
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                (ErrorKind::ConfigInvalid, "; the token in HF_TOKEN is not allowed to get it")
            }
            StatusCode::NOT_FOUND => (ErrorKind::NotFound, ""),
            _ => (ErrorKind::Unavailable, ""),
        };
        Error::new(kind, format!("{address} answered {status}{help}"))
    }
}
