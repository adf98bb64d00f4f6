//! The one test binary that links V8.

mod ai;
mod background;
mod bad_input;
mod binary_dev;
mod config_errors;
mod enforcement;
mod events;
mod faults;
mod fuzzed;
mod hello;
mod hostile;
mod http;
mod isolation;
mod limits;
mod models_command;
mod modules;
mod outbound;
mod overload;
mod paths;
mod recipe_insights;
mod recipe_rag;
mod recipes;
mod rows;
mod secrets;
mod seen;
mod serve;
mod storage;
mod web_platform;
mod workers;

fn main() {
    // On the main thread, before the test threads: see `initialise`.
    aerostack_isolate::initialise();
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    hello::trials(&mut trials);
    ai::trials(&mut trials);
    recipes::trials(&mut trials);
    recipe_rag::trials(&mut trials);
    recipe_insights::trials(&mut trials);
    limits::trials(&mut trials);
    enforcement::trials(&mut trials);
    overload::trials(&mut trials);
    hostile::trials(&mut trials);
    events::trials(&mut trials);
    http::trials(&mut trials);
    config_errors::trials(&mut trials);
    binary_dev::trials(&mut trials);
    serve::trials(&mut trials);
    secrets::trials(&mut trials);
    isolation::trials(&mut trials);
    paths::trials(&mut trials);
    outbound::trials(&mut trials);
    background::trials(&mut trials);
    bad_input::trials(&mut trials);
    faults::trials(&mut trials);
    fuzzed::trials(&mut trials);
    models_command::trials(&mut trials);
    modules::trials(&mut trials);
    seen::trials(&mut trials);
    rows::trials(&mut trials);
    storage::trials(&mut trials);
    web_platform::trials(&mut trials);
    workers::trials(&mut trials);
    libtest_mimic::run(&arguments, trials).exit();
}
