use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use aerostack_outbound::Policy;
use deno_core::OpState;
use deno_error::JsErrorBox;
use deno_permissions::{
    PermissionDescriptorParser, Permissions, PermissionsContainer, PermissionsOptions,
    RuntimePermissionDescriptorParser,
};
use deno_tls::RootCertStoreProvider;
use deno_tls::rustls::RootCertStore;
use sys_traits::impls::RealSys;

use crate::crypto::{self, Workbench};
use crate::outbound::Outbound;

/// What an isolate's web platform may reach, and whom it trusts there.
#[derive(Clone)]
pub struct WebOptions {
    roots: Arc<LazyRoots>,
    outbound: Arc<Policy>,
    workbench: Workbench,
}

impl WebOptions {
    /// Trusts the Mozilla roots and, where given, the PEM certificates in `extra_roots` (the convention of `SSL_CERT_FILE`). Everything
    /// may be reached.
    pub fn new(extra_roots: Option<std::path::PathBuf>) -> Self {
        let roots = Arc::new(LazyRoots { extra_roots, store: OnceLock::new() });
        Self { roots, outbound: Arc::new(Policy::unrestricted()), workbench: Workbench::default() }
    }

    /// The same for one worker, where only what the policy lets through may be reached.
    #[must_use]
    pub fn with_outbound(&self, policy: Policy) -> Self {
        Self { roots: self.roots.clone(), outbound: Arc::new(policy), workbench: Workbench::default() }
    }

    /// Puts what deno_fetch looks for into a new isolate's state: only the network may be reached, nothing else of the host.
    pub fn install(&self, state: &mut OpState) {
        let parser: Arc<dyn PermissionDescriptorParser> = Arc::new(RuntimePermissionDescriptorParser::new(RealSys));
        let options =
            PermissionsOptions { allow_net: Some(Vec::new()), prompt: false, ..PermissionsOptions::default() };
        let permissions =
            Permissions::from_options(parser.as_ref(), &options).expect("an empty allow list always parses");
        state.put(PermissionsContainer::new(parser, permissions));
        state.put(Outbound::new(self.outbound.clone()));
        crypto::install(state, self.workbench.clone());
    }
}

pub(crate) fn fetch_options(options: &WebOptions) -> deno_fetch::Options {
    deno_fetch::Options {
        root_cert_store_provider: Some(options.roots.clone()),
        request_builder_hook: Some(prepare_request),
        ..deno_fetch::Options::default()
    }
}

/// Whether another request may leave; the error is the text for JavaScript.
type OutboundCheck = Rc<dyn Fn() -> Result<(), String>>;

thread_local! {
    /// deno_fetch hands its hook nothing but the request. A thread has one isolate, so the thread can say whose it is.
    static OUTBOUND_CHECK: RefCell<Option<OutboundCheck>> = const { RefCell::new(None) };
}

/// Has `check` asked for every request that leaves the isolate of this thread, each redirect included, while the JavaScript that
/// makes it is on the stack. Replaces the one before.
pub fn check_outbound_requests(check: OutboundCheck) {
    OUTBOUND_CHECK.set(Some(check));
}

/// Counts the request, and drops `accept-language: *`, which deno_fetch adds as a browser would; Workers do not.
fn prepare_request(request: &mut http::Request<deno_fetch::ReqBody>) -> Result<(), JsErrorBox> {
    if let Some(check) = OUTBOUND_CHECK.with_borrow(Clone::clone) {
        check().map_err(JsErrorBox::generic)?;
    }
    let headers = request.headers_mut();
    if headers.get(http::header::ACCEPT_LANGUAGE).is_some_and(|value| value == "*") {
        headers.remove(http::header::ACCEPT_LANGUAGE);
    }
    Ok(())
}

/// Root certificates parsed at the first TLS connection, once a process.
struct LazyRoots {
    extra_roots: Option<std::path::PathBuf>,
    store: OnceLock<RootCertStore>,
}

impl RootCertStoreProvider for LazyRoots {
    fn get_or_try_init(&self) -> Result<&RootCertStore, JsErrorBox> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let mut store = deno_tls::create_default_root_cert_store();
        if let Some(path) = &self.extra_roots {
            let unreadable = |error: String| {
                JsErrorBox::generic(format!("cannot read certificates from {}: {error}", path.display()))
            };
            let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
            let certificates = deno_tls::load_certs(&mut std::io::BufReader::new(file))
                .map_err(|error| unreadable(error.to_string()))?;
            store.add_parsable_certificates(certificates);
        }
        Ok(self.store.get_or_init(|| store))
    }
}
