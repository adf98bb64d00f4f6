use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::watch;

use crate::Phase;
use crate::status::{self, Status};
use crate::triggers::{self, Triggers};

/// Where the server's own routes live; no worker ever sees them.
pub(crate) const ADMIN_PREFIX: &str = "/_aerostack/";

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// Whether it is on this machine.
    pub(crate) fn is_near(self) -> bool {
        self.0.to_canonical().is_loopback()
    }
}

/// The server's own routes. Only this machine may ask them, or whoever asks under one of the names in `hosts`.
pub(crate) fn router(
    triggers: Option<Arc<dyn Triggers>>,
    status: Arc<dyn Status>,
    phase: watch::Receiver<Phase>,
    hosts: Vec<String>,
) -> Router {
    let own = status::router(status, phase);
    let own = match triggers {
        Some(triggers) => own.merge(triggers::router(triggers)),
        None => own,
    };
    own.fallback(|| async { (StatusCode::NOT_FOUND, "no such admin route\n") }).layer(axum::middleware::from_fn(
        move |request: Request, next: Next| {
            let refused = refuse_foreign(&request, &hosts);
            async move {
                match refused {
                    Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
                    None => next.run(request).await,
                }
            }
        },
    ))
}

/// Headers that proxies put on what they pass on: the connection is the proxy's, the request is not.
const FORWARDED: [&str; 23] = [
    "cdn-loop",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-ray",
    "cf-visitor",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "true-client-ip",
    "via",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-original-for",
    "x-original-host",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-ip",
];

/// And what all others of them begin with.
const FORWARDED_PREFIXES: [&str; 2] = ["x-forwarded", "x-original-forwarded"];

fn is_passed_on(headers: &HeaderMap) -> bool {
    let begins_so = |name: &HeaderName| FORWARDED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
    FORWARDED.iter().any(|name| headers.contains_key(*name)) || headers.keys().any(begins_so)
}

/// Why a request is not of a person or a program on this machine.
///
/// A page on another site can make a browser send requests here, also under a name of its own that resolves to this machine. It
/// cannot choose the Host that is sent, and what it makes the browser send has an Origin, or a Sec-Fetch-Site of its own, or both.
fn refuse_foreign(request: &Request, hosts: &[String]) -> Option<&'static str> {
    let headers = request.headers();
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    // Where a request names its host twice, whoever passed it on may have looked at the other one.
    let in_target = request.uri().authority().map(ToString::to_string);
    let named: Vec<String> = in_target.into_iter().chain(headers.get_all(header::HOST).iter().map(text)).collect();
    let is_expected = |authority: &str| is_loopback(authority) || is_listed(authority, hosts);
    if named.is_empty() || !named.iter().all(|authority| is_expected(authority)) {
        return Some("Invalid Host header\n");
    }
    let origins = headers.get_all(header::ORIGIN).iter().map(text);
    let mut foreign_origins =
        origins.filter(|origin| !origin.split_once("://").is_some_and(|(_, authority)| is_expected(authority)));
    if foreign_origins.next().is_some() {
        return Some("Invalid Origin header\n");
    }
    let asked_as_listed = named.iter().all(|authority| is_listed(authority, hosts));
    // "Same site" are all ports of loopback, which belong to this machine; but also all names beside a listed one.
    let refused_site = |site: &str| site == "cross-site" || (site == "same-site" && asked_as_listed);
    if headers.get_all("sec-fetch-site").iter().any(|value| refused_site(&text(value))) {
        return Some("Requests from other sites are not answered here\n");
    }
    let peer = request.extensions().get::<Peer>();
    let is_near = peer.is_some_and(|peer| peer.is_near()) && !is_passed_on(headers);
    if !is_near && !asked_as_listed {
        return Some("Only this machine may ask\n");
    }
    None
}

fn is_loopback(authority: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| without_port(authority).eq_ignore_ascii_case(name))
}

fn is_listed(authority: &str, hosts: &[String]) -> bool {
    hosts.iter().any(|host| host.eq_ignore_ascii_case(without_port(authority)))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use axum::body::Body;
    use axum::extract::Request;

    use super::{Peer, is_listed, is_loopback, refuse_foreign};

    const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

    fn refused(peer: IpAddr, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = Request::builder().uri("/_aerostack/health");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a valid request");
        request.extensions_mut().insert(Peer(peer));
        refuse_foreign(&request, &["ops.internal".to_owned()])
    }

    #[test]
    fn loopback_names_are_loopback_with_and_without_a_port() {
        for authority in ["localhost", "LocalHost:8788", "127.0.0.1:1", "[::1]", "[::1]:8788"] {
            assert!(is_loopback(authority), "{authority}");
        }
    }

    #[test]
    fn other_names_are_known_only_when_they_are_listed() {
        let listed = ["dev.internal".to_owned()];
        for authority in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8788",
            "localhost:80@evil.example",
            "evil.example#localhost",
            "null",
            "",
        ] {
            assert!(!is_loopback(authority) && !is_listed(authority, &listed), "{authority}");
        }
        assert!(is_listed("dev.internal:8788", &listed));
    }

    #[test]
    fn this_machine_may_ask_under_a_name_of_loopback() {
        assert_eq!(refused(NEAR, &[("host", "localhost:8788")]), None);
        assert_eq!(refused(NEAR, &[("host", "127.0.0.1:8788"), ("origin", "http://localhost:3000")]), None);
        assert_eq!(refused(NEAR, &[("host", "localhost:8788"), ("sec-fetch-site", "same-site")]), None);
        assert_eq!(refused(NEAR, &[("host", "localhost:8788"), ("sec-fetch-site", "none")]), None);
        assert_eq!(refused("::ffff:127.0.0.1".parse().expect("an address"), &[("host", "localhost")]), None);
    }

    #[test]
    fn a_name_of_another_site_that_resolves_to_this_machine_is_refused() {
        for hosts in [&["evil.example"][..], &["localhost", "evil.example"], &["evil.example", "localhost"], &[]] {
            let headers: Vec<(&str, &str)> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(refused(NEAR, &headers), Some("Invalid Host header\n"), "{hosts:?}");
        }
    }

    #[test]
    fn what_a_page_of_another_site_sends_is_refused() {
        for origin in ["https://evil.example", "null", "http://localhost.evil.example", "localhost", ""] {
            let refusal = refused(NEAR, &[("host", "localhost:8788"), ("origin", origin)]);
            assert_eq!(refusal, Some("Invalid Origin header\n"), "{origin}");
        }
        // An image or a link sends no Origin.
        let refusal = refused(NEAR, &[("host", "localhost:8788"), ("sec-fetch-site", "cross-site")]);
        assert_eq!(refusal, Some("Requests from other sites are not answered here\n"));
        let refusal = refused(NEAR, &[("host", "ops.internal"), ("sec-fetch-site", "same-site")]);
        assert_eq!(refusal, Some("Requests from other sites are not answered here\n"));
    }

    #[test]
    fn other_machines_may_ask_only_under_a_listed_name() {
        assert_eq!(refused(FAR, &[("host", "localhost:8788")]), Some("Only this machine may ask\n"));
        assert_eq!(refused(FAR, &[("host", "ops.internal:8788")]), None);
        for name in [
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded",
            "X-Original-Forwarded-For",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "X-Client-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
        ] {
            let refusal = refused(NEAR, &[("host", "127.0.0.1:8788"), (name, "203.0.113.9")]);
            assert_eq!(refusal, Some("Only this machine may ask\n"), "{name}");
        }
    }
}
