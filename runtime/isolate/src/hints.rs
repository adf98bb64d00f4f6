//! What to do about errors that newcomers meet first.

use deno_core::error::JsError;
use strsim::damerau_levenshtein;

use crate::report::Place;
use crate::worker::WorkerVersion;

/// Names that other platforms have and a worker will never have, with what to use instead.
const NEVER_THERE: [(&str, &str); 11] = [
    ("window", "a worker has no window; `globalThis` holds the global names"),
    ("document", "a worker has no DOM; answer with HTML as text"),
    ("localStorage", "a worker keeps values in a KV namespace, such as `env.CACHE`"),
    ("sessionStorage", "a worker keeps values in a KV namespace, such as `env.CACHE`"),
    ("XMLHttpRequest", "use `fetch`"),
    ("alert", "use `console.log`"),
    ("Deno", "this is not Deno: variables and bindings are on `env`, the second parameter of the handlers"),
    ("Bun", "this is not Bun: variables and bindings are on `env`, the second parameter of the handlers"),
    ("env", "`env` is the second parameter of the handlers: `fetch(request, env, ctx)`"),
    ("ctx", "`ctx` is the third parameter of the handlers: `fetch(request, env, ctx)`"),
    ("request", "`request` is the first parameter of the handler: `fetch(request, env, ctx)`"),
];

/// What to do about the error; `place` is the line that threw.
pub(crate) fn hint(error: &JsError, place: Option<&Place>, version: &WorkerVersion) -> Option<String> {
    let bindings: Vec<&str> = version.env.iter().map(|entry| entry.name.as_str()).collect();
    let message = error.message.as_deref().unwrap_or(&error.exception_message);
    match error.name.as_deref() {
        Some("ReferenceError") => {
            message.strip_suffix(" is not defined").and_then(|name| missing_name(name, &bindings))
        }
        Some("TypeError") => known(message).or_else(|| {
            let place = place.filter(|_| message.starts_with("Cannot read properties of undefined"))?;
            missing_binding(before(place)?, &bindings)
        }),
        Some(_) => known(message),
        None if place.is_none() => Some("throw an Error: only errors know the line that threw them".to_owned()),
        None => None,
    }
}

fn known(message: &str) -> Option<String> {
    let hint = if message.contains("no such table") {
        "put CREATE TABLE statements into migrations/0001_name.sql; `aerostack dev` applies them at its start"
    } else if message.contains("Code generation from strings disallowed") {
        "as on Workers, `eval` and `new Function` work while modules load, and in no handler"
    } else if message.contains("Array buffer allocation failed") {
        "limits.array_buffer_mb says how much all ArrayBuffers of an isolate may take together"
    } else if message.contains("the main module has no default export") {
        "export a handler: `export default { fetch(request, env, ctx) { return new Response(\"hello\") } }`"
    } else {
        match message.strip_prefix("fetch must return a Response, got ")? {
            "undefined" => "does every path through `fetch` return? `return new Response(...)`",
            "a string" => "wrap it: `new Response(text)`",
            "an object" | "an array" => "wrap it: `Response.json(value)`",
            _ => "`return new Response(...)`",
        }
    };
    Some(hint.to_owned())
}

fn missing_name(name: &str, bindings: &[&str]) -> Option<String> {
    if bindings.contains(&name) {
        return Some(format!("`{name}` is on `env`, the second parameter of the handlers: `env.{name}`"));
    }
    let (_, hint) = NEVER_THERE.iter().find(|(missing, _)| *missing == name)?;
    Some((*hint).to_owned())
}

/// The source up to the place.
fn before(place: &Place) -> Option<&str> {
    let line = usize::try_from(place.position.line).ok()?.checked_sub(1)?;
    let start: usize = place.source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = place.source.get(start..)?;
    let mut column = 1;
    let end = rest.char_indices().find_map(|(at, character)| {
        let is_there = column >= place.position.column;
        column += u32::try_from(character.len_utf16()).unwrap_or(1);
        is_there.then_some(at)
    });
    place.source.get(..start + end?)
}

/// A property was read of `<name>.`, which the text ends with and which is undefined: a binding with another name was
/// meant, or one that the config does not have.
fn missing_binding(text: &str, bindings: &[&str]) -> Option<String> {
    let (name, rest) = last_member(text)?;
    if bindings.contains(&name) {
        return None;
    }
    let is_of_env = last_member(rest).is_some_and(|(owner, _)| owner == "env");
    let given = name.to_uppercase();
    let distance = |binding: &str| {
        if is_of_env {
            damerau_levenshtein(&given, &binding.to_uppercase())
        } else {
            damerau_levenshtein(name, binding)
        }
    };
    let allowed = if name.chars().count() <= 4 { 1 } else { 2 };
    let closest = bindings.iter().map(|binding| (distance(binding), *binding)).min();
    match closest {
        Some((distance, binding)) if distance <= allowed && distance < binding.len() && name.len() > 1 => {
            Some(format!("`env` has no `{name}`: did you mean `{binding}`?"))
        }
        _ if is_of_env => Some(format!("`env` has no `{name}`, it has {}", listed(bindings))),
        _ => None,
    }
}

/// The identifier before the dot that the text ends with, and the text before the identifier. `!` of TypeScript may
/// stand between.
fn last_member(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_end().strip_suffix('.')?.trim_end().trim_end_matches('!');
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    let rest = text.trim_end_matches(is_part);
    let name = &text[rest.len()..];
    (!name.is_empty()).then_some((name, rest))
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [all @ .., last] => format!("`{}` and `{last}`", all.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::{missing_binding, missing_name};

    const BINDINGS: [&str; 4] = ["DB", "CACHE", "QUEUE", "API_TOKEN"];

    #[test]
    fn a_misspelled_binding_is_recognised_by_what_stands_before_the_dot() {
        let hint = |text: &str| missing_binding(text, &BINDINGS);
        let meant = |name: &str, binding: &str| Some(format!("`env` has no `{name}`: did you mean `{binding}`?"));
        assert_eq!(hint("  const rows = await env.DBB."), meant("DBB", "DB"));
        assert_eq!(hint("await c.env.cache!\n    ."), meant("cache", "CACHE"));
        assert_eq!(hint("const { QUEEU } = env; QUEEU."), meant("QUEEU", "QUEUE"));
        assert_eq!(
            hint("env.SESSIONS.").as_deref(),
            Some("`env` has no `SESSIONS`, it has `DB`, `CACHE`, `QUEUE` and `API_TOKEN`")
        );
    }

    #[test]
    fn an_undefined_value_that_is_no_binding_gets_no_hint() {
        for text in ["user.profile.", "db.", "x.", "env.DB.", "rows[0].", "f()."] {
            assert_eq!(missing_binding(text, &BINDINGS), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_will_never_be_there_says_what_to_use() {
        assert!(missing_name("localStorage", &BINDINGS).is_some_and(|hint| hint.contains("env.CACHE")));
        assert!(missing_name("DB", &BINDINGS).is_some_and(|hint| hint.ends_with("`env.DB`")));
        for later in ["process", "Buffer", "require", "caches"] {
            assert_eq!(missing_name(later, &BINDINGS), None);
        }
    }
}
