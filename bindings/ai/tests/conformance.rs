//! The behaviour suite of the AI binding, run over every driver.

use std::process::ExitCode;

use libtest_mimic::Arguments;

#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "openai")]
mod openai;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // All of them share one engine, and one of them fills its queue.
    arguments.test_threads = Some(1);
    let mut tests = Vec::new();
    #[cfg(feature = "candle")]
    tests.extend(candle::trials());
    #[cfg(feature = "openai")]
    tests.extend(openai::trials());
    libtest_mimic::run(&arguments, tests).exit_code()
}
