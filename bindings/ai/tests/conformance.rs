//! The behaviour suite of the AI binding, run over every driver.

use std::process::ExitCode;

use libtest_mimic::Arguments;

#[cfg(feature = "candle")]
mod candle;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    #[cfg(feature = "candle")]
    let tests = candle::trials();
    #[cfg(not(feature = "candle"))]
    let tests = Vec::new();
    libtest_mimic::run(&arguments, tests).exit_code()
}
