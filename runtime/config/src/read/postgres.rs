use super::resource::Place;
use crate::diagnostic::Diagnostic;
use crate::model::PostgresBinding;
use crate::secret::Secret;
use crate::section::Section;

/// Connections at most when `pool_size` is not set (contract 3.1).
const DEFAULT_POOL_SIZE: u64 = 10;

/// Reads `[[postgres_databases]]`.
pub(super) fn read_postgres(root: &Section<'_>, place: &Place) -> Vec<PostgresBinding> {
    root.sections("postgres_databases").iter().filter_map(|section| read_one(section, place)).collect()
}

fn read_one(section: &Section<'_>, place: &Place) -> Option<PostgresBinding> {
    let binding = section.binding();
    let connection_string = section.required("connection_string").and_then(|_| section.expanded("connection_string"));
    let schema = section.string("schema");
    let pool_size = section.integer("pool_size", 1..=1_000, "connections").unwrap_or(DEFAULT_POOL_SIZE);
    let migrations_dir = section.string("migrations_dir");
    let (binding, connection_string) = (binding?, connection_string?);
    if let Some(problem) = problem_of_connection_string(&connection_string.value) {
        // The text itself stays out of the message: it usually holds a password.
        let diagnostic = Diagnostic::error(format!("the `connection_string` of `{}` {problem}", binding.value))
            .at(connection_string.span, "")
            .help("the form is `postgres://user:password@host:5432/database`");
        section.reader.problems.report(diagnostic);
        return None;
    }
    Some(PostgresBinding {
        binding: binding.value,
        connection_string: Secret::new(connection_string.value),
        schema: schema.map(|schema| schema.value),
        pool_size: pool_size as u32,
        migrations_dir: place.path(migrations_dir.map_or_else(|| "migrations_postgres".to_owned(), |dir| dir.value)),
        span: binding.span,
    })
}

/// What contract 3.4 asks of a connection string: the scheme, a host and a database.
fn problem_of_connection_string(text: &str) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) else {
        return Some("does not start with `postgres://` or `postgresql://`");
    };
    let rest = rest.split(['?', '#']).next().unwrap_or("");
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // An IPv6 host stands in brackets and has colons of its own.
    let host = host_and_port.split(':').next().unwrap_or("");
    if host.is_empty() {
        return Some("has no host");
    }
    database.is_empty().then_some("names no database")
}

#[cfg(test)]
mod tests {
    use super::problem_of_connection_string;

    #[test]
    fn a_connection_string_needs_its_scheme_a_host_and_a_database() {
        for (text, expected) in [
            ("postgres://user:p%40ss@db.example:5432/app?sslmode=require", None),
            ("postgresql://localhost/app", None),
            ("postgres://user@[::1]:5432/app", None),
            ("postgres://us@er:pass@host/app", None),
            ("mysql://h/db", Some("does not start with `postgres://` or `postgresql://`")),
            ("", Some("does not start with `postgres://` or `postgresql://`")),
            ("postgres://", Some("has no host")),
            ("postgres:///app", Some("has no host")),
            ("postgres://user:pass@:5432/app", Some("has no host")),
            ("postgres://host", Some("names no database")),
            ("postgres://host/?x=/y", Some("names no database")),
        ] {
            assert_eq!(problem_of_connection_string(text), expected, "for {text:?}");
        }
    }
}
