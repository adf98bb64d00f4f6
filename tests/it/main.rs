//! The one test binary that links V8.

mod ai;
mod background;
mod bad_input;
mod binary_dev;
mod config_errors;
mod events;
mod faults;
mod hello;
mod http;
mod limits;
mod modules;
mod recipe_insights;
mod recipe_rag;
mod recipes;
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
    events::trials(&mut trials);
    http::trials(&mut trials);
    config_errors::trials(&mut trials);
    binary_dev::trials(&mut trials);
    background::trials(&mut trials);
    bad_input::trials(&mut trials);
    faults::trials(&mut trials);
    modules::trials(&mut trials);
    storage::trials(&mut trials);
    web_platform::trials(&mut trials);
    workers::trials(&mut trials);
    libtest_mimic::run(&arguments, trials).exit();
}
