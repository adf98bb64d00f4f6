//! The rules for names: of workers, of bindings, and of the things that state is kept under.

/// The name of a worker that has none (contract 3.1).
pub(crate) const DEFAULT_WORKER_NAME: &str = "aerostack-app";

/// `name` as a worker's name: lower case, anything else than letters, digits and `-` becomes `-`, runs of `-` become
/// one, none at the ends; `aerostack-app` when nothing is left (contract 3.1).
pub(crate) fn sanitized_worker_name(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    for character in name.chars() {
        let character = character.to_ascii_lowercase();
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            result.push(character);
        } else if !result.is_empty() && !result.ends_with('-') {
            result.push('-');
        }
    }
    let result = result.trim_end_matches('-');
    if result.is_empty() { DEFAULT_WORKER_NAME.to_owned() } else { result.to_owned() }
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
    fn names_that_would_leave_the_state_folder_are_refused() {
        for name in ["../x", "a/b", "a\\b", ".hidden", "", "a@b", "a\0"] {
            assert!(!is_resource_name(name), "for {name:?}");
        }
        assert!(is_resource_name("local-db"));
        assert!(is_resource_name("0f9a8b7c_x.y"));
    }
}
