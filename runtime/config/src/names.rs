//! The rules for names: of workers, of bindings, and of the things that state is kept under.

/// The name of a worker that has none (contract 3.1).
pub(crate) const DEFAULT_WORKER_NAME: &str = "aerostack-app";

/// `name` as a worker's name: lower case, anything else than letters, digits and `-` becomes `-`, runs of `-` become
/// one, none at the ends; `aerostack-app` when nothing is left (contract 3.1).
pub(crate) fn sanitized_worker_name(name: &str) -> String {
    let result = sanitized(name);
    if result.is_empty() { DEFAULT_WORKER_NAME.to_owned() } else { result }
}

fn sanitized(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    for character in name.chars() {
        let character = character.to_ascii_lowercase();
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            result.push(character);
        } else if !result.is_empty() && !result.ends_with('-') {
            result.push('-');
        }
    }
    result.trim_end_matches('-').to_owned()
}

/// Both names on `env` of the worker `auth-hook`: `AUTH_HOOK`, and `AUTH-HOOK` where it differs.
pub(crate) fn service_binding_names(worker: &str) -> (String, Option<String>) {
    let alias = worker.to_ascii_uppercase();
    let binding = alias.replace('-', "_");
    let alias = (alias != binding).then_some(alias);
    (binding, alias)
}

/// The name of what `binding` is bound to when the config gives none: `USER_SESSIONS` -> `user-sessions`.
pub(crate) fn resource_name_of_binding(binding: &str) -> String {
    sanitized_worker_name(binding)
}

/// Whether `name` can be a property of `env` that code reads in the usual ways.
pub(crate) fn is_binding_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '$' | '-');
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// The name that the state of `name` is kept under: `name` itself where every system takes it as a file's name, else
/// what it has in common with one and a hash, so that no two names share their state.
pub(crate) fn state_name(name: &str) -> String {
    if is_resource_name(name) {
        return name.to_owned();
    }
    // FNV-1a: the same in every version, which the standard library does not promise of its hasher.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let readable: String = sanitized(name).chars().take(64).collect();
    format!("{readable}{}{hash:016x}", if readable.is_empty() { "" } else { "-" })
}

/// Whether state can be kept in a file of this name on every system. `@` and `/` are ours, see `state_name`.
pub(crate) fn is_resource_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    !name.is_empty() && name.len() <= 128 && name.chars().all(allowed) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_name_is_lower_case_letters_digits_and_single_dashes() {
        for (given, expected) in [
            ("My App", "my-app"),
            ("--a__b--", "a-b"),
            ("Ünïcode", "n-code"),
            ("api.v2", "api-v2"),
            ("", "aerostack-app"),
            ("***", "aerostack-app"),
        ] {
            assert_eq!(sanitized_worker_name(given), expected, "for {given:?}");
        }
    }

    #[test]
    fn a_service_has_an_identifier_and_its_dashed_name_on_env() {
        assert_eq!(service_binding_names("auth-hook"), ("AUTH_HOOK".to_owned(), Some("AUTH-HOOK".to_owned())));
        assert_eq!(service_binding_names("auth"), ("AUTH".to_owned(), None));
    }

    #[test]
    fn any_name_has_state_of_its_own_under_a_name_that_is_safe() {
        let names = ["local-db", "my db", "my-db", "your id/here", "<REPLACE_WITH_YOUR_ID>", "../x", "", "日本", "a@b"];
        let states: Vec<String> = names.iter().map(|name| state_name(name)).collect();
        assert_eq!(states[0], "local-db");
        assert!(states[1].starts_with("my-db-") && states[4].starts_with("replace-with-your-id-"), "{states:?}");
        for (position, state) in states.iter().enumerate() {
            assert!(is_resource_name(state), "{state:?}");
            assert!(!states[..position].contains(state), "{state:?} is there twice");
        }
        assert_eq!(state_name("my db"), "my-db-5773fede5ee37f0f", "it is the same in every version");
    }

    #[test]
    fn names_that_would_leave_the_state_folder_are_refused() {
        for name in ["../x", "a/b", "a\\b", ".hidden", "", "a@b", "a\0"] {
            assert!(!is_resource_name(name), "for {name:?}");
        }
        assert!(is_resource_name("local-db"));
        assert!(is_resource_name("0f9a8b7c_x.y"));
    }
}
