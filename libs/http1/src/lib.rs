//! What an HTTP/1 request says (RFC 9112): its head, where it goes, and where its body ends.
//!
//! Nothing here owns a socket or knows a worker. Whatever two readers could understand in two ways is refused, because something
//! between client and server may have read it in the other way.

mod chunked;
mod head;
mod target;

pub use self::chunked::{Chunked, Decoded};
pub use self::head::{Framing, Head, Refusal, length, parse};
pub use self::target::{Target, is_authority};
