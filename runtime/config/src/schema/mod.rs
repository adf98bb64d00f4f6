//! Which keys exist. Reading values is elsewhere; this is for keys nobody reads: to say that they are unknown, or not
//! supported yet.

mod keys;
mod suggest;

pub(crate) use self::keys::TOP_LEVEL;
use self::suggest::similar;
use crate::diagnostic::Diagnostic;
use crate::document::{Kind, Table};
use crate::section::Reader;

/// One key of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) support: Support,
    pub(crate) below: Below,
}

/// What the runtime does with a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// It has a meaning here.
    Read,
    /// Wrangler's or the platform's; without meaning for a local runtime, so nothing is said about it.
    Accepted,
    /// It would change what the worker does, and does not yet. The text says what is missing.
    Unsupported(&'static str),
}

/// What stands below a key when its value is a table, or a list of tables.
#[derive(Clone, Copy)]
pub(crate) enum Below {
    /// Anything.
    Free,
    /// Tables with these keys.
    Keys(&'static [Key]),
    /// Tables by a name of the user's choice, with these keys in each.
    Named(&'static [Key]),
    /// Environments: tables by name with the keys of the top level.
    Environments,
}

/// Warns of every key of the document that nothing knows, in selected and other environments alike.
pub(crate) fn report_unknown_keys(reader: &Reader<'_>, document: &Table) {
    check_table(reader, document, TOP_LEVEL, "");
}

/// Warns of keys that would change what the worker does, if the runtime supported them.
pub(crate) fn report_unsupported_keys(reader: &Reader<'_>, effective: &Table) {
    for entry in &effective.entries {
        let Some(key) = TOP_LEVEL.iter().find(|key| key.name == entry.key) else {
            continue;
        };
        let Support::Unsupported(what_is_missing) = key.support else {
            continue;
        };
        let nothing_in_it = match &entry.value.kind {
            Kind::Array(items) => items.is_empty(),
            Kind::Table(table) => table.entries.is_empty(),
            Kind::Null | Kind::Boolean(false) => true,
            _ => false,
        };
        if !nothing_in_it {
            let diagnostic = Diagnostic::warning(format!("`{}` is not supported yet: {what_is_missing}", entry.key));
            reader.problems.report(diagnostic.at(reader.span(&entry.key_range), ""));
        }
    }
}

fn check_table(reader: &Reader<'_>, table: &Table, keys: &'static [Key], path: &str) {
    for entry in &table.entries {
        let entry_path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let Some(key) = keys.iter().find(|key| key.name == entry.key) else {
            let diagnostic = unknown_key(&entry.key, keys, path).at(reader.span(&entry.key_range), "");
            reader.problems.report(diagnostic);
            continue;
        };
        for below in tables_of(&entry.value.kind) {
            match key.below {
                Below::Free => {}
                Below::Keys(keys) => check_table(reader, below, keys, &entry_path),
                Below::Named(keys) => check_named(reader, below, keys, &entry_path),
                Below::Environments => check_named(reader, below, TOP_LEVEL, &entry_path),
            }
        }
    }
}

fn check_named(reader: &Reader<'_>, table: &Table, keys: &'static [Key], path: &str) {
    for entry in &table.entries {
        for below in tables_of(&entry.value.kind) {
            check_table(reader, below, keys, &format!("{path}.{}", entry.key));
        }
    }
}

fn tables_of(kind: &Kind) -> Vec<&Table> {
    match kind {
        Kind::Table(table) => vec![table],
        Kind::Array(items) => items.iter().flat_map(|item| tables_of(&item.kind)).collect(),
        _ => Vec::new(),
    }
}

fn unknown_key(key: &str, keys: &'static [Key], path: &str) -> Diagnostic {
    let diagnostic = if path.is_empty() {
        Diagnostic::warning(format!("unknown key `{key}`"))
    } else {
        Diagnostic::warning(format!("unknown key `{key}` in `{path}`"))
    };
    let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
    if let Some(meant) = similar(key, &known) {
        return diagnostic.help(format!("did you mean `{meant}`?"));
    }
    let is_top_level = !path.is_empty() && TOP_LEVEL.iter().any(|known| known.name == key);
    if is_top_level {
        return diagnostic.help(format!("`{key}` is a key of the top level: move it above the first `[section]`"));
    }
    if path.is_empty()
        && let Some(place) = keys::usual_place(key)
    {
        return diagnostic.help(format!("did you mean {place}?"));
    }
    diagnostic
}

/// The best match of `name` among `known`, for messages about names of the user's own choice.
pub(crate) fn did_you_mean(name: &str, known: &[&str]) -> Option<String> {
    similar(name, known).map(|meant| format!("did you mean \"{meant}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(keys: &[Key], readme: &str, path: &str, result: &mut Vec<String>) {
        for key in keys {
            let is_there =
                [format!("`{}`", key.name), format!("[{}]", key.name)].iter().any(|text| readme.contains(text));
            if key.support == Support::Read && !is_there {
                result.push(format!("{path}{}", key.name));
            }
            if let Below::Keys(below) | Below::Named(below) = key.below {
                missing(below, readme, &format!("{path}{}.", key.name), result);
            }
        }
    }

    #[test]
    fn the_readme_documents_every_key_that_is_read() {
        let mut result = Vec::new();
        missing(TOP_LEVEL, include_str!("../../README.md"), "", &mut result);
        assert_eq!(result, Vec::<String>::new());
    }

    #[test]
    fn no_table_of_keys_names_one_twice() {
        fn check(keys: &[Key]) {
            for (position, key) in keys.iter().enumerate() {
                assert!(
                    !keys[..position].iter().any(|earlier| earlier.name == key.name),
                    "{} is there twice",
                    key.name
                );
                if let Below::Keys(below) | Below::Named(below) = key.below {
                    check(below);
                }
            }
        }
        check(TOP_LEVEL);
    }
}
