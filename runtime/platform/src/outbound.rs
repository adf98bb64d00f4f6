//! `fetch` on its way out: the one place where an isolate reaches the network.

#![allow(clippy::result_large_err, reason = "the error is deno_fetch's")]

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use aerostack_outbound::{Policy, Refusal, shown_host};
use bytes::Bytes;
use deno_core::convert::{ByteString, Uint8Array};
use deno_core::futures::FutureExt;
use deno_core::{CancelFuture, CancelHandle, OpState, ResourceId, op2};
use deno_error::JsErrorBox;
use deno_fetch::dns::{Resolve, Resolver, Resolving};
use deno_fetch::{
    CancelableResponseFuture, Client, FetchCancelHandle, FetchError, FetchRequestResource, FetchReturn, Options,
    ReqBody, ResourceToBodyAdapter,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, Full};
use url::Url;

/// An isolate's HTTP clients, and what they may reach.
pub(crate) struct Outbound {
    policy: Arc<Policy>,
    /// By the port that a rule singles out; all others share one. A resolver learns names only, so each of these has its own.
    clients: HashMap<Option<u16>, Client>,
}

/// Resolves names as the system does, and hands out only the addresses that the policy lets through: those are what is connected
/// to.
#[derive(Debug)]
struct PolicyResolver {
    policy: Arc<Policy>,
    port: Option<u16>,
}

impl Outbound {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self { policy, clients: HashMap::new() }
    }

    fn client(&mut self, port: u16, options: &Options) -> Result<Client, FetchError> {
        let port = self.policy.single_ports().any(|single| single == port).then_some(port);
        if let Some(client) = self.clients.get(&port) {
            return Ok(client.clone());
        }
        let resolver = PolicyResolver { policy: self.policy.clone(), port };
        let options = Options { resolver: Resolver::custom(Arc::new(resolver)), ..options.clone() };
        let client = deno_fetch::create_client_from_options(&options, None)?;
        self.clients.insert(port, client.clone());
        Ok(client)
    }
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: hyper_util::client::legacy::connect::dns::Name) -> Resolving {
        let (policy, port) = (self.policy.clone(), self.port.unwrap_or(0));
        async move {
            let found: Vec<IpAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.map(|found| found.ip()).collect();
            let usable = policy
                .check_addresses(name.as_str(), port, &found)
                .map_err(|refusal| io::Error::new(io::ErrorKind::PermissionDenied, refusal))?;
            Ok(usable.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
        }
        .boxed()
    }
}

/// Stands in for deno_fetch's op of this name, which asks Deno's permissions: here every request, and so every hop of a redirect and
/// every connection of an `EventSource`, is asked of the worker's policy. `client` is what `Deno.createHttpClient` makes; no worker
/// can have one.
#[op2(stack_trace)]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "the signature is deno_fetch's")]
pub(crate) fn op_fetch(
    state: &mut OpState,
    #[scoped] method: ByteString,
    #[string] url: String,
    #[scoped] headers: Vec<(ByteString, ByteString)>,
    #[smi] _client: Option<u32>,
    has_body: bool,
    data: Option<Uint8Array>,
    #[smi] resource: Option<ResourceId>,
) -> Result<FetchReturn, FetchError> {
    let method = Method::from_bytes(&method)?;
    let url = Url::parse(&url)?;
    match url.scheme() {
        "http" | "https" => {}
        "data" => return data_url(state, url),
        "blob" => return Err(FetchError::BlobNotFound),
        "file" => return Err(FetchError::NetworkError),
        other => return Err(FetchError::SchemeNotSupported(other.to_owned())),
    }
    let host = url.host().ok_or_else(|| FetchError::InvalidUrl(url.clone()))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let shown = shown_host(&host, port);
    let client = {
        let mut outbound = state.take::<Outbound>();
        let client = match outbound.policy.check_host(&host, port) {
            Ok(()) => outbound.client(port, state.borrow::<Options>()),
            Err(refusal) => Err(not_allowed(&refusal)),
        };
        state.put(outbound);
        client?
    };
    let body = match (has_body, data, resource) {
        (false, _, _) => OutgoingBody::none(&method),
        (true, Some(data), _) => OutgoingBody::full(data.0.into()),
        (true, None, Some(resource)) => OutgoingBody::streamed(state, resource)?,
        (true, None, None) => return Err(FetchError::NetworkError),
    };
    let mut request = request(method, url.clone(), &headers, body)?;
    if let Some(hook) = state.borrow::<Options>().request_builder_hook {
        hook(&mut request).map_err(FetchError::RequestBuilderHook)?;
    }
    let sent = async move {
        client.send_no_decompress(request).await.map_err(|error| refusal_of(&error, shown).unwrap_or(error.into()))
    };
    let cancel = CancelHandle::new_rc();
    let future = sent.or_cancel(cancel.clone()).boxed_local();
    Ok(begun(state, url, future, Some(cancel)))
}

/// A body, and the length that is announced for it.
struct OutgoingBody {
    body: ReqBody,
    length: Option<u64>,
}

impl OutgoingBody {
    /// A method that usually has a body says that there is none (Fetch standard, HTTP-network-or-cache fetch, step 8.5).
    fn none(method: &Method) -> Self {
        let length = (*method == Method::POST || *method == Method::PUT).then_some(0);
        Self { body: ReqBody::empty(), length }
    }

    fn full(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), body: ReqBody::full(bytes) }
    }

    fn streamed(state: &mut OpState, resource: ResourceId) -> Result<Self, FetchError> {
        let resource = state.resource_table.take_any(resource)?;
        let (least, most) = resource.size_hint();
        let length = most.filter(|most| *most == least && *most > 0);
        Ok(Self { body: ReqBody::streaming(ResourceToBodyAdapter::new(resource)), length })
    }
}

fn request(
    method: Method,
    mut url: Url,
    headers: &[(ByteString, ByteString)],
    body: OutgoingBody,
) -> Result<http::Request<ReqBody>, FetchError> {
    let credentials = deno_fetch::extract_authority(&mut url);
    let uri: Uri = url.as_str().parse().map_err(|_| FetchError::InvalidUrl(url))?;
    let mut all = HeaderMap::new();
    if let Some((user, password)) = credentials {
        all.insert(header::AUTHORIZATION, deno_fetch::basic_auth(&user, password.as_deref()));
    }
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name)?;
        // Both follow from the URL and the body; another one could smuggle a request past what checks it.
        if name != header::HOST && name != header::CONTENT_LENGTH {
            all.append(name, HeaderValue::from_bytes(value)?);
        }
    }
    if let Some(length) = body.length {
        all.insert(header::CONTENT_LENGTH, length.into());
    }
    if !all.contains_key(header::ACCEPT_ENCODING) {
        // A part of an encoded whole cannot be decoded.
        let codings = if all.contains_key(header::RANGE) { "identity" } else { "gzip,br" };
        all.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
    }
    let mut request = http::Request::new(body.body);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, all);
    Ok(request)
}

fn data_url(state: &mut OpState, url: Url) -> Result<FetchReturn, FetchError> {
    let data = deno_fetch::data_url::DataUrl::process(url.as_str()).map_err(FetchError::DataUrl)?;
    let (bytes, _) = data.decode_to_vec().map_err(FetchError::Base64)?;
    let response = http::Response::builder()
        .header(header::CONTENT_TYPE, data.mime_type().to_string())
        .body(Full::from(bytes).map_err(|never| match never {}).boxed())?;
    Ok(begun(state, url, async { Ok(Ok(response)) }.boxed_local(), None))
}

fn begun(
    state: &mut OpState,
    url: Url,
    future: CancelableResponseFuture,
    cancel: Option<Rc<CancelHandle>>,
) -> FetchReturn {
    FetchReturn {
        request_rid: state.resource_table.add(FetchRequestResource { future, url }),
        cancel_handle_rid: cancel.map(|cancel| state.resource_table.add(FetchCancelHandle(cancel))),
    }
}

/// What a resolver of ours had against all addresses of a name, out of what the client makes of it.
/// The resolver knows no ports: `host` is how the refusal names it.
fn refusal_of(error: &(dyn Error + 'static), host: String) -> Option<FetchError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(refusal) = wrapped.and_then(|wrapped| wrapped.downcast_ref::<Refusal>()) {
            return Some(not_allowed(&Refusal { host, reason: refusal.reason.clone() }));
        }
        cause = error.source();
    }
    None
}

fn not_allowed(refusal: &Refusal) -> FetchError {
    FetchError::Other(JsErrorBox::type_error(refusal.to_string()))
}
