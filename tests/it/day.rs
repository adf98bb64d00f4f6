//! A day of `aerostack dev`, and the commands beside it.

mod commands;
mod starts;
mod state;
mod streams;
mod watching;

use libtest_mimic::Trial;

const CONFIG: &str = "name = \"shop\"\n";

fn answering(text: &str) -> String {
    format!("export default {{ fetch: () => new Response('{text}') }};\n")
}

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    starts::trials(trials);
    watching::trials(trials);
    state::trials(trials);
    streams::trials(trials);
    commands::trials(trials);
}
