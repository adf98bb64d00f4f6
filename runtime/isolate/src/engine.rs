use std::sync::Once;

use deno_core::v8;

use crate::limits;

static INITIALISED: Once = Once::new();

/// Sets V8 up, once a process. Must run on the main thread before any other thread exists: threads that run V8 have to be
/// descendants of the one that initialised it (embedding notes, section 5.3).
///
/// Workers see the time in UTC and texts as in the United States, whatever the machine is set to, as in production.
pub fn initialise() {
    INITIALISED.call_once(|| {
        let flags = [
            "aerostack",
            // V8 assumes a stack of 1 MiB; isolate threads have 8 MiB, of which JavaScript may use 3.
            "--stack-size=3072",
            // As on Workers, one WebAssembly memory may have 128 MiB. All of an isolate's together count as its ArrayBuffers, which is
            // looked at only every few milliseconds: this bounds what one instruction can ask for in between.
            "--wasm-max-mem-pages=2048",
        ];
        // SAFETY: no other thread exists that could read the environment meanwhile.
        unsafe { std::env::set_var("TZ", "UTC") };
        v8::icu::set_default_locale("en-US");
        let unknown = deno_core::v8_set_flags(flags.map(ToOwned::to_owned).to_vec());
        debug_assert_eq!(unknown.len(), 1, "V8 knows every flag we set");
        deno_core::JsRuntime::init_platform(None);
        return_large_blocks();
        contain_panics();
    });
}

/// Has a panic within V8 end its thread only: it cannot unwind through V8, and would end the process. What is to be printed
/// of panics is what was installed before.
pub fn contain_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        limits::panicked();
    }));
}

/// Has the system's allocator, which V8 and ICU use, give large blocks back as soon as they are free. By default glibc takes ever
/// larger ones from arenas that keep them: what a stopped isolate had would stay with the process.
#[cfg(target_env = "gnu")]
fn return_large_blocks() {
    const LARGE_BYTES: libc::c_int = 1024 * 1024;
    // SAFETY: no preconditions.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 * LARGE_BYTES);
    }
}

#[cfg(not(target_env = "gnu"))]
fn return_large_blocks() {}

/// Gives back what the allocators keep of memory that was freed: as much as an isolate may have had.
pub(crate) fn give_back_memory() {
    // SAFETY: no preconditions.
    unsafe {
        libmimalloc_sys::mi_collect(true);
        #[cfg(target_env = "gnu")]
        libc::malloc_trim(0);
    }
}
