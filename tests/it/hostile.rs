//! Every way we know of to use up time or memory: the process lives, the client is told which limit it was, a neighbour in the same
//! process is answered meanwhile, and the next request to the same worker works.

use std::time::Duration;

use aerostack_tests::{Connection, HttpAnswer, TestServer, WorkerSetup, get, test, wait_until_idle};
use libtest_mimic::Trial;

/// What a handler may come to.
#[derive(Debug, Clone, Copy)]
enum End {
    /// 503: it took too long on the CPU.
    Cpu,
    /// 503: the heap is full.
    Memory,
    /// 503, or a RangeError: buffers, WebAssembly memories and blobs are too much.
    Buffers,
    /// 503: it took too long.
    Wall,
    /// 500 with this text.
    Throws(&'static str),
    /// 200 with this text.
    Answers(&'static str),
}
use End::{Answers, Buffers, Cpu, Memory, Throws, Wall};

const TOO_DEEP: End = Throws("RangeError: Maximum call stack size exceeded");
const TOO_LONG: End = Throws("RangeError: Invalid string length");

/// The handlers of `hostile/handlers.js` whose point is time: the limit is short.
const TIME: &[(&str, &[End])] = &[
    ("endless-loop", &[Cpu]),
    ("endless-loop-behind-catch", &[Cpu]),
    ("finally-that-swallows", &[Cpu]),
    ("microtasks-then", &[Cpu, Memory]),
    ("microtasks-queue", &[Cpu]),
    ("microtasks-thenable", &[Cpu]),
    ("async-generator", &[Cpu]),
    ("generator", &[Cpu]),
    ("regex-backtracking", &[Cpu]),
    ("regex-lookbehind", &[Cpu, Answers("false")]),
    ("regex-replace", &[Cpu, TOO_DEEP]),
    ("regex-split", &[Cpu, Memory, Answers("6000000")]),
    ("sort-comparison", &[Cpu]),
    ("sort-numbers", &[Cpu]),
    ("sort-array", &[Cpu]),
    ("short-turns", &[Cpu]),
    ("timers-zero", &[Cpu]),
    ("bigint-power", &[Cpu, Answers("2535295")]),
    ("bigint-product", &[Cpu, Memory]),
    ("intl", &[Cpu]),
    ("intl-collator", &[Cpu]),
    ("number-formats", &[Cpu]),
    ("url-parsing", &[Cpu]),
    ("console-flood", &[Cpu]),
    ("console-deep", &[Cpu, Answers("logged")]),
    ("event-dispatch", &[Answers("done")]),
    ("event-listeners", &[Cpu, Memory]),
    ("abort-signals", &[Cpu, Memory]),
    ("wasm-loop", &[Cpu]),
    ("atomics-wait", &[Throws("Atomics.wait cannot be called in this context")]),
    ("json-stringify-getter", &[Cpu]),
    ("json-stringify-bomb", &[Cpu, Memory, TOO_LONG]),
    ("proxy-loop", &[Cpu, Memory]),
    ("getter-of-answer", &[Cpu]),
    ("response-subclass", &[Answers("fine")]),
    ("throw-from-iterator", &[Cpu]),
    ("pull-forever", &[Cpu]),
    ("crypto-digest", &[Cpu, Wall]),
    (
        "crypto-pbkdf2",
        &[Throws("Pbkdf2 failed: iteration counts above 100000 are not supported (requested 4000000000).")],
    ),
    ("crypto-pbkdf2-many", &[Cpu]),
    ("crypto-pbkdf2-keys", &[Cpu]),
    ("crypto-rsa-many", &[Cpu]),
    ("crypto-rsa-large", &[Throws("The modulus length must be a multiple of 128 and between 512 and 4096")]),
    ("crypto-argon2", &[Throws("Argon2 failed: more than 65536 KiB of memory")]),
    ("crypto-sign-loop", &[Cpu]),
    ("crypto-random", &[Throws("QuotaExceededError")]),
    ("structured-clone-loop", &[Cpu]),
];

/// Those whose point is memory: the time must not run out first.
const MEMORY: &[(&str, &[End])] = &[
    ("search-params", &[Memory]),
    ("search-params-million", &[Answers("300000")]),
    ("array-push", &[Memory]),
    ("array-push-numbers", &[Memory]),
    ("array-fill", &[Memory]),
    ("array-fill-largest", &[Memory]),
    // It may be through before it sees that it was stopped.
    ("array-fill-objects", &[Memory, Answers("30000000")]),
    ("array-from-length", &[Memory]),
    ("array-spread", &[Memory]),
    ("array-concat", &[Memory]),
    ("array-flat", &[Memory, Buffers, Cpu]),
    ("array-sparse", &[Memory]),
    ("array-join", &[TOO_LONG]),
    ("array-join-bomb", &[Memory, TOO_LONG]),
    ("arguments-spread", &[TOO_DEEP]),
    ("function-apply", &[TOO_DEEP]),
    ("string-doubling", &[TOO_LONG]),
    ("string-repeat", &[Memory]),
    ("string-flatten", &[Memory]),
    ("string-pad", &[TOO_LONG]),
    // Strings of half a gigabyte: whoever sees it first, V8 or who looks at the growth of the process.
    ("string-pad-largest", &[Memory, Buffers]),
    ("string-replace-bomb", &[Memory]),
    ("string-normalize", &[Memory]),
    ("map", &[Memory]),
    ("set-numbers", &[Memory]),
    ("weak-map", &[Memory]),
    ("object-keys", &[Memory]),
    ("symbols", &[Memory]),
    ("closures", &[Memory]),
    ("promises", &[Memory]),
    ("array-buffers", &[Buffers]),
    ("array-buffer-huge", &[Buffers]),
    ("array-buffer-small", &[Memory, Buffers]),
    ("array-buffer-resizable", &[Buffers]),
    ("shared-array-buffers", &[Buffers]),
    ("shared-growable", &[Buffers]),
    ("buffer-transfer", &[Buffers]),
    ("text-encoder", &[Buffers]),
    ("text-encoder-garbage", &[Answers("524288000")]),
    ("text-decoder", &[Memory]),
    ("blobs", &[Buffers]),
    ("blob-nesting", &[Buffers]),
    ("object-urls", &[Buffers]),
    ("body-concatenation", &[Buffers]),
    ("stream-queue", &[Buffers]),
    ("stream-tee", &[Buffers]),
    ("transform-bomb", &[Buffers]),
    ("wasm-memory-grow", &[Buffers, Answers("RangeError")]),
    ("wasm-memories", &[Buffers]),
    ("wasm-instances", &[Buffers]),
    ("wasm-tables", &[Memory]),
    ("wasm-modules", &[Memory, Cpu]),
    ("timers-million", &[Memory, Answers("set")]),
    ("timers-endless", &[Memory]),
    ("form-data", &[Memory]),
    ("headers", &[Memory, Cpu, Buffers]),
    ("structured-clone-bomb", &[Memory]),
    ("json-parse-large", &[Memory]),
    ("json-stringify-large", &[Memory]),
    ("unsettled-rejections", &[Memory]),
    ("error-stacks", &[Memory, Buffers]),
    ("message-channel", &[Buffers]),
    // Each call makes a copy of its salt first.
    (
        "crypto-derivations-waiting",
        &[Throws("too many derivations and generations of keys wait for their turn"), Buffers],
    ),
    ("recursion", &[TOO_DEEP]),
    ("recursion-async", &[TOO_DEEP]),
    ("recursion-getter", &[TOO_DEEP]),
    ("recursion-to-string", &[TOO_DEEP]),
    ("recursion-proxy", &[TOO_DEEP]),
    ("recursion-bind", &[TOO_DEEP, Answers("1")]),
    ("recursion-prototype", &[Memory, Answers("undefined")]),
    ("recursion-json-parse", &[Memory, Buffers, Answers("object")]),
    ("recursion-json-stringify", &[TOO_DEEP, Answers("2000002")]),
    ("recursion-to-json", &[TOO_DEEP]),
    ("recursion-flat", &[TOO_DEEP]),
    ("recursion-regex", &[Throws("SyntaxError: Invalid regular expression")]),
    ("recursion-regex-match", &[TOO_DEEP, Answers("false")]),
    ("recursion-structured-clone", &[TOO_DEEP, Answers("cloned")]),
    ("recursion-rope", &[Memory, Answers("-1")]),
    ("recursion-error-cause", &[Throws("Error: y")]),
    ("recursion-promise", &[Memory, Answers("1")]),
    ("huge-header", &[Memory, Throws("more than the limit of 131072")]),
    ("many-headers", &[Memory, Cpu, Buffers, Throws("more than the limit of 131072")]),
    ("zip-bomb", &[Answers("209715200"), Buffers]),
    ("zip-bomb-kept", &[Buffers]),
    ("zip-bomb-at-once", &[Answers("true")]),
    ("zip-endless", &[Buffers, Cpu, Wall]),
];

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    let time = TIME.iter().map(|case| (case, Duration::from_millis(500)));
    let memory = MEMORY.iter().map(|case| (case, Duration::from_secs(10)));
    for ((handler, ends), cpu) in time.chain(memory) {
        let name = format!("a hostile handler ({handler}) harms nobody else");
        trials.push(test(&name, async move || harms_nobody_else(handler, ends, cpu).await));
    }
}

/// The names of all handlers.
pub(crate) fn handlers() -> impl Iterator<Item = &'static str> {
    TIME.iter().chain(MEMORY).map(|(handler, _)| *handler)
}

/// Held by those who take what memory they get. Who looks at the growth of the process cannot tell two of them apart, and may name the
/// other limit.
static GROWING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn harms_nobody_else(handler: &str, ends: &[End], cpu: Duration) {
    let _alone = if ends.iter().any(|end| matches!(end, Memory)) { Some(GROWING.lock().await) } else { None };
    let setup = WorkerSetup::of("").file("src/index.ts", "export { default } from './handlers.js'");
    let setup = setup.file("src/handlers.js", include_str!("hostile/handlers.js")).limits(|limits| {
        limits.cpu = cpu;
        limits.wall = Some(Duration::from_mins(1));
        limits.heap_bytes = 64 * 1024 * 1024;
        limits.array_buffer_bytes = 64 * 1024 * 1024;
        limits.invocation.log_bytes = 256 * 1024;
    });
    let neighbour = WorkerSetup::of("export default { fetch: () => new Response('unharmed') }");
    let server = TestServer::beside(setup, neighbour).await;
    assert_eq!(get(server.address, "/calls").await.text(), "1");
    let mut guilty = Connection::patient(server.address).await;
    guilty.write_get(&format!("/{handler}")).await;
    let mut answer = std::pin::pin!(guilty.answer());
    let answer = loop {
        assert_eq!(get(server.address, "/neighbour/").await.text(), "unharmed");
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(20), answer.as_mut()).await {
            break answer;
        }
    };
    assert!(
        ends.iter().any(|end| end.is(&answer, cpu)),
        "{handler} came to {} {}, not to {ends:?}",
        answer.status,
        answer.text()
    );
    let calls = get(server.address, "/calls").await;
    assert_eq!(calls.status, 200, "{}", calls.text());
    assert_eq!(get(server.address, "/neighbour/").await.text(), "unharmed");
    wait_until_idle(&server).await;
}

impl End {
    fn is(self, answer: &HttpAnswer, cpu: Duration) -> bool {
        let text = answer.text();
        let stopped = |reason: &str| answer.status == 503 && text.contains(reason);
        match self {
            Cpu => stopped(&format!("exceeded CPU limit {} ms: raise limits.cpu_ms", cpu.as_millis())),
            Memory => stopped("exceeded memory limit 64 MB: raise limits.memory_mb"),
            Buffers => {
                stopped("exceeded ArrayBuffer limit 64 MB: raise limits.array_buffer_mb")
                    || (answer.status == 500 && text.contains("Array buffer allocation failed"))
            }
            Wall => stopped("exceeded wall time limit 60000 ms: raise limits.wall_ms"),
            Throws(expected) => answer.status == 500 && text.contains(expected),
            Answers(expected) => (answer.status, text.as_str()) == (200, expected),
        }
    }
}
