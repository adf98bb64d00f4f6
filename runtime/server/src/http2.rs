//! Requests of an HTTP/2 connection, which hyper serves.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use aerostack_isolate::ResponseBody;
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::body::ClientBody;
use crate::open_socket::OpenStream;
use crate::request::{Connection, Reply};

/// Answers the requests of an HTTP/2 connection.
pub(crate) struct Requests(pub(crate) Rc<Connection>);

impl Service<Request<Incoming>> for Requests {
    type Response = http::Response<StreamBody>;
    type Error = Infallible;
    type Future = StreamReply;

    fn call(&self, request: Request<Incoming>) -> StreamReply {
        let open = self.0.socket.stream();
        let (parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let reply = self.0.answer(Box::new(parts), ClientBody::Http2(body));
        StreamReply { reply: if is_head { reply.without_body() } else { reply }, open: Some(open) }
    }
}

/// The answer to a stream of an HTTP/2 connection.
pub(crate) struct StreamReply {
    reply: Reply,
    open: Option<OpenStream>,
}

impl Future for StreamReply {
    type Output = Result<http::Response<StreamBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.reply {
            Reply::Now(response) => response.take().expect("a reply is taken once"),
            Reply::Later(response) => ready!(response.as_mut().poll(context)),
        };
        let open = self.open.take();
        Poll::Ready(Ok((*response).map(|body| StreamBody { body, _open: open })))
    }
}

/// The body of such an answer: the stream is open up to its end.
pub(crate) struct StreamBody {
    body: ResponseBody,
    _open: Option<OpenStream>,
}

impl Body for StreamBody {
    type Data = <ResponseBody as Body>::Data;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
