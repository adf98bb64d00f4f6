//! The one test binary that links V8.

mod hello;

fn main() {
    // On the main thread, before the test threads: see `initialise`.
    aerostack_isolate::initialise();
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    hello::trials(&mut trials);
    libtest_mimic::run(&arguments, trials).exit();
}
