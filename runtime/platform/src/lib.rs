//! The extensions an isolate is made of.
//!
//! The web platform comes from the Deno crates of one release train; [`aerostack_platform`] adds the ops behind
//! `js/platform`; each binding brings its own. The snapshot's build script and the isolate must name the same extensions in
//! the same order, so the order is written down once, in [`extensions`].

mod blobs;
mod body;
mod breaches;
mod coding;
mod crypto;
mod encoded;
mod events;
mod fetch_spans;
mod fetched;
mod held;
mod invocations;
mod log;
mod ops;
mod outbound;
mod spending;
mod thrown;
mod web;

pub use aerostack_outbound::{Policy as OutboundPolicy, PrivateAddresses, Rule as OutboundRule};
pub use body::{RemoteBody, RequestBody, ResponseBody};
pub use breaches::{Breach, Breaches};
pub use crypto::CpuMeter;
pub use events::{Event, EventCall, EventNotes};
pub use invocations::{
    CLIENT_ADDRESS, Caller, Costs, Failure, IncomingRequest, Invocation, InvocationId, Invocations, Response, Settled,
};
pub use log::{ConsoleLevel, WorkerLog};
pub use spending::InvocationLimits;
pub use thrown::describe_thrown;
pub use web::{WebOptions, check_outbound_requests};

use aerostack_bindings::Memory;
use deno_core::{Extension, ExtensionArguments};

deno_core::extension!(
    aerostack_platform,
    deps = [deno_webidl, deno_web, deno_fetch, deno_crypto],
    ops = [
        crypto::op_crypto_begin_turn,
        crypto::op_crypto_decrypt_oaep,
        crypto::op_crypto_digest,
        crypto::op_crypto_end_turn,
        crypto::op_crypto_generate_rsa,
        crypto::op_crypto_hold_key,
        crypto::op_crypto_is_ec_pair,
        crypto::op_crypto_open,
        crypto::op_crypto_pbkdf2,
        crypto::op_crypto_seal,
        crypto::op_crypto_sign,
        crypto::op_crypto_verify,
        events::op_event_ack,
        events::op_event_backlog,
        events::op_event_ended,
        events::op_event_messages,
        events::op_event_no_retry,
        events::op_event_retry,
        coding::op_codec_finish,
        coding::op_codec_new,
        coding::op_codec_step,
        fetch_spans::op_fetch_span_begin,
        fetch_spans::op_fetch_span_end,
        held::op_hold_bytes,
        held::op_release_bytes,
        ops::op_console_print,
        ops::op_invocation_body,
        ops::op_invocation_body_chunk,
        ops::op_invocation_body_failed,
        ops::op_invocation_failed,
        ops::op_invocation_header,
        ops::op_invocation_headers,
        ops::op_invocation_pass_through,
        ops::op_invocation_respond_bytes,
        ops::op_invocation_respond_empty,
        ops::op_invocation_respond_encoded,
        ops::op_invocation_respond_long_text,
        ops::op_invocation_respond_stream,
        ops::op_invocation_respond_text,
        ops::op_invocation_url,
        ops::op_invocation_wait_until_begin,
        ops::op_invocation_wait_until_end,
        ops::op_invocation_wait_until_failed,
        ops::op_invocation_watch_cancel,
        ops::op_report_uncaught,
        ops::op_resource_length,
    ],
    esm_entry_point = "ext:aerostack/platform/bootstrap.ts",
    esm = ["ext:aerostack/platform/bootstrap.ts" = "../../js/platform/bootstrap.ts"],
    lazy_loaded_js = [
        "ext:aerostack/bindings/ai.ts" = "../../js/bindings/ai.ts",
        "ext:aerostack/bindings/cache.ts" = "../../js/bindings/cache.ts",
        "ext:aerostack/bindings/database.ts" = "../../js/bindings/database.ts",
        "ext:aerostack/bindings/queue.ts" = "../../js/bindings/queue.ts",
        "ext:aerostack/bindings/storage.ts" = "../../js/bindings/storage.ts",
        "ext:aerostack/bindings/vectorize.ts" = "../../js/bindings/vectorize.ts",
        "ext:aerostack/platform/arguments.ts" = "../../js/platform/arguments.ts",
        "ext:aerostack/platform/body_streams.ts" = "../../js/platform/body_streams.ts",
        "ext:aerostack/platform/bytes.ts" = "../../js/platform/bytes.ts",
        "ext:aerostack/platform/clones.ts" = "../../js/platform/clones.ts",
        "ext:aerostack/platform/compression_streams.ts" = "../../js/platform/compression_streams.ts",
        "ext:aerostack/platform/console.ts" = "../../js/platform/console.ts",
        "ext:aerostack/platform/counted_arguments.ts" = "../../js/platform/counted_arguments.ts",
        "ext:aerostack/platform/crypto.ts" = "../../js/platform/crypto.ts",
        "ext:aerostack/platform/events.ts" = "../../js/platform/events.ts",
        "ext:aerostack/platform/fetch_spans.ts" = "../../js/platform/fetch_spans.ts",
        "ext:aerostack/platform/form_data.ts" = "../../js/platform/form_data.ts",
        "ext:aerostack/platform/handlers.ts" = "../../js/platform/handlers.ts",
        "ext:aerostack/platform/identity_streams.ts" = "../../js/platform/identity_streams.ts",
        "ext:aerostack/platform/plain.ts" = "../../js/platform/plain.ts",
        "ext:aerostack/platform/request_body.ts" = "../../js/platform/request_body.ts",
        "ext:aerostack/platform/responses.ts" = "../../js/platform/responses.ts",
        "ext:aerostack/platform/web_corrections.ts" = "../../js/platform/web_corrections.ts",
        "ext:deno_net/02_tls.js" = "../../js/platform/net_tls.js",
    ],
    middleware = |op| match op.name {
        "op_fetch" => op.with_implementation_from(&outbound::op_fetch()),
        "op_fetch_send" => op.with_implementation_from(&fetched::op_fetch_send()),
        "op_read_all" => op.with_implementation_from(&held::op_read_all()),
        "op_destructure_error" => op.with_implementation_from(&ops::op_destructure_error()),
        "op_dispatch_exception" => op.with_implementation_from(&ops::op_dispatch_exception()),
        _ => op,
    },
);

/// Every extension of an isolate, in the order the snapshot was baked with. Those with options still want
/// [`arguments`].
pub fn extensions() -> Vec<Extension> {
    vec![
        deno_webidl::deno_webidl::init(),
        web_without_browser_parts(),
        deno_fetch::deno_fetch::lazy_init(),
        deno_crypto::deno_crypto::lazy_init(),
        aerostack_database::ops::aerostack_database::init(),
        aerostack_cache::ops::aerostack_cache::init(),
        aerostack_queue::ops::aerostack_queue::init(),
        aerostack_storage::ops::aerostack_storage::init(),
        aerostack_vectorize::ops::aerostack_vectorize::init(),
        aerostack_ai::ops::aerostack_ai::init(),
        aerostack_platform::init(),
    ]
}

/// deno_web without what only browsers have (geometry, images, style sheets, locks, broadcast channels) and what is our own
/// (compression). Every op and class is a function template that each new isolate pays for.
fn web_without_browser_parts() -> Extension {
    const SCRIPTS: &[&str] =
        &["01_broadcast_channel.js", "14_compression.js", "16_image_data.js", "17_geometry.js", "18_css_stylesheet.js"];
    const OPS: &[&str] = &["op_geometry_", "op_lock_manager_", "op_broadcast_", "op_compression_"];
    let mut web = deno_web::deno_web::lazy_init();
    web.objects.to_mut().retain(|class| class.name.0 == "Console");
    web.ops.to_mut().retain(|op| !OPS.iter().any(|prefix| op.name.starts_with(prefix)));
    web.lazy_loaded_js_files.to_mut().retain(|file| !SCRIPTS.iter().any(|script| file.specifier.ends_with(script)));
    web.lazy_loaded_esm_files.to_mut().clear();
    web
}

/// What the ops behind outbound requests look for in an isolate's state.
pub fn install_tracer(state: &mut deno_core::OpState, tracer: aerostack_trace::Tracer) {
    state.put(tracer);
    state.put(fetch_spans::OpenFetches::default());
}

/// The options of the extensions that [`extensions`] leaves open, for one isolate, whose blobs count in `memory`.
pub fn arguments(options: &WebOptions, memory: Memory) -> Vec<ExtensionArguments> {
    vec![
        deno_web::deno_web::args(
            blobs::CountedBlobs::counted_in(memory),
            None,
            false,
            deno_web::InMemoryBroadcastChannel::default(),
        ),
        deno_fetch::deno_fetch::args(web::fetch_options(options)),
        deno_crypto::deno_crypto::args(None),
    ]
}
