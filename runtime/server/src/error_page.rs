//! What the client sees when a handler failed. In `dev` a page for browsers, plain text for everybody else; in `serve` a few words.

use std::fmt::Write;

use aerostack_isolate::{ErrorReport, Failure, Response, WorkerVersion};
use aerostack_modules::FrameStyle;
use aerostack_telemetry::Redaction;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::ErrorDetail;

/// The text of contract section 10, "Hung promise".
const HUNG: &str = "The Workers runtime canceled this request because it detected that your Worker's code had hung and would \
                    never generate a response. Refer to: https://developers.cloudflare.com/workers/observability/errors/";

/// When a client that met an overloaded worker, or server, should come again.
pub(crate) const RETRY_AFTER_SECONDS: u16 = 1;

/// `accept` is the request's header of that name.
pub(crate) fn answer(
    failure: &Failure,
    version: &WorkerVersion,
    accept: Option<&HeaderValue>,
    detail: &ErrorDetail,
) -> Response {
    let status = match failure {
        Failure::Exception(_) | Failure::Hung | Failure::Exceeded(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Failure::Stopped(_) | Failure::Overloaded(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = match detail {
        ErrorDetail::Shown(redaction) => shown(status, failure, version, accept, redaction),
        ErrorDetail::Hidden => hidden(status, failure, version),
    };
    if matches!(failure, Failure::Overloaded(_)) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

/// A page with frames of the source for browsers, the stack for everybody else.
fn shown(
    status: StatusCode,
    failure: &Failure,
    version: &WorkerVersion,
    accept: Option<&HeaderValue>,
    redaction: &Redaction,
) -> Response {
    let report = match failure {
        Failure::Exception(error) => Some(ErrorReport::new(error, version)),
        Failure::Hung | Failure::Stopped(_) | Failure::Overloaded(_) | Failure::Exceeded(_) => None,
    };
    let text = match (failure, &report) {
        (Failure::Stopped(reason) | Failure::Overloaded(reason) | Failure::Exceeded(reason), _) => {
            format!("Worker {} {reason}", version.name)
        }
        (_, Some(report)) => match report.hint() {
            Some(hint) => format!("{}\nhint: {hint}", report.stack_text()),
            None => report.stack_text(),
        },
        _ => HUNG.to_owned(),
    };
    let text = redaction.redacted(&text);
    if !accepts_html(accept) {
        return plain(status, &text);
    }
    let code_frame = report.as_ref().and_then(|report| report.code_frame(FrameStyle::Plain));
    let code_frame = code_frame.as_ref().map(|frame| redaction.redacted(frame));
    html(status, &page(status, &text, code_frame.as_deref()))
}

/// What somebody who is not the developer may know: nothing of the source, and which limit was met.
fn hidden(status: StatusCode, failure: &Failure, version: &WorkerVersion) -> Response {
    match failure {
        Failure::Exception(_) => plain(status, "Internal Server Error"),
        Failure::Hung => plain(status, HUNG),
        Failure::Stopped(reason) | Failure::Overloaded(reason) | Failure::Exceeded(reason) => {
            plain(status, &format!("Worker {} {reason}", version.name))
        }
    }
}

/// An answer in the server's own words.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    with_type(status, format!("{text}\n"), "text/plain; charset=utf-8")
}

fn html(status: StatusCode, page: &str) -> Response {
    with_type(status, page.to_owned(), "text/html; charset=utf-8")
}

fn with_type(status: StatusCode, text: String, content_type: &'static str) -> Response {
    let mut response: Response = Box::new(http::Response::new(Bytes::from(text).into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Only who asks for HTML by name gets it: curl's `*/*` reads better as text.
fn accepts_html(accept: Option<&HeaderValue>) -> bool {
    accept.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

fn page(status: StatusCode, text: &str, code_frame: Option<&str>) -> String {
    let (message, stack) = text.split_once('\n').unwrap_or((text, ""));
    let mut page = String::from(HEAD);
    let _ = write!(page, "<p class=status>{status}</p><h1>{}</h1>", Escaped(message));
    if let Some(frame) = code_frame {
        // The frame's first line repeats the message.
        let frame = frame.split_once('\n').map_or(frame, |(_, rest)| rest);
        let _ = write!(page, "<pre class=frame>{}</pre>", Escaped(frame));
    }
    if !stack.is_empty() {
        let _ = write!(page, "<pre>{}</pre>", Escaped(stack));
    }
    page.push_str(FOOT);
    page
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Error</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:3rem 1.5rem}\
h1{font-size:1.35rem;margin:.25rem 0 1.5rem;overflow-wrap:anywhere}.status{color:#c2410c;font-weight:600;margin:0}\
pre{background:#8881;border-radius:.5rem;overflow:auto;padding:1rem;font:14px/1.5 ui-monospace,monospace}\
.frame{border-left:4px solid #c2410c}footer{color:#888;font-size:.85rem}</style><main>";
const FOOT: &str =
    "</main><footer>aerostack shows this page to browsers; other clients get plain text.</footer></html>\n";

/// Text that is safe between tags.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                _ => formatter.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::page;

    #[test]
    fn an_error_message_cannot_inject_markup_into_the_page() {
        let page =
            page(StatusCode::INTERNAL_SERVER_ERROR, "Error: <script>alert(1)</script>\n    at <b>", Some("x\n<i>"));
        assert!(!page.contains("<script>") && !page.contains("<b>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }
}
