//! The behaviour suite of the AI binding, run over every driver.

use std::process::ExitCode;

use libtest_mimic::Arguments;

#[cfg(feature = "candle")]
mod candle;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // All of them share one engine, and one of them fills its queue.
    arguments.test_threads = Some(1);
    #[cfg(feature = "candle")]
    let tests = candle::trials();
    #[cfg(not(feature = "candle"))]
    let tests = Vec::new();
    libtest_mimic::run(&arguments, tests).exit_code()
}
