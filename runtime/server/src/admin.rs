use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use tokio::sync::watch;

use crate::Phase;
use crate::status::{self, Status};
use crate::triggers::{self, Triggers};

/// Where the server's own routes live; no worker ever sees them.
pub(crate) const ADMIN_PREFIX: &str = "/_aerostack/";

/// The server's own routes. `hosts` are the names they may be asked under, besides loopback.
pub(crate) fn router(
    triggers: Arc<dyn Triggers>,
    status: Arc<dyn Status>,
    phase: watch::Receiver<Phase>,
    hosts: Vec<String>,
) -> Router {
    status::router(status, phase)
        .merge(triggers::router(triggers))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such admin route\n") })
        .layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            let refused = refuse_foreign(&request, &hosts);
            async move {
                match refused {
                    Some(refused) => refused,
                    None => next.run(request).await,
                }
            }
        }))
}

/// A page on another site can make a browser send requests here; it cannot choose the Host it sends, nor hide its Origin.
fn refuse_foreign(request: &Request, hosts: &[String]) -> Option<Response> {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = request.uri().authority().map(http::uri::Authority::as_str).or_else(|| text(header::HOST));
    if !host.is_some_and(|host| is_local(host, hosts)) {
        return Some((StatusCode::FORBIDDEN, "Invalid Host header\n").into_response());
    }
    let foreign = |origin: &str| {
        let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
        !is_local(authority, hosts)
    };
    if text(header::ORIGIN).is_some_and(foreign) {
        return Some((StatusCode::FORBIDDEN, "Invalid Origin header\n").into_response());
    }
    None
}

fn is_local(authority: &str, hosts: &[String]) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name) || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn loopback_names_are_local_with_and_without_a_port() {
        for authority in ["localhost", "localhost:8788", "127.0.0.1:1", "[::1]", "[::1]:8788"] {
            assert!(is_local(authority, &[]), "{authority}");
        }
    }

    #[test]
    fn other_names_are_local_only_when_the_server_was_bound_to_them() {
        for authority in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8788", "null", ""] {
            assert!(!is_local(authority, &[]), "{authority}");
        }
        assert!(is_local("dev.internal:8788", &["dev.internal".to_owned()]));
    }
}
