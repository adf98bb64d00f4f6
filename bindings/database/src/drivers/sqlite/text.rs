//! The little that is decided from the text of a statement before SQLite sees it.
//!
//! Nothing here is trusted for correctness: the guess only picks the connection that is asked first, and
//! `sqlite3_stmt_readonly` has the last word.

/// Which connection to ask first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// Looks like a query.
    Reads,
    /// Looks like anything else.
    Writes,
}

/// Pragmas that report and never set. All other pragmas go to the writing connection, because a setting must hold where the
/// writes are.
const REPORTING_PRAGMAS: [&str; 11] = [
    "data_version",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "page_size",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Guesses from the first word whether a statement only reads.
pub(super) fn guess(sql: &str) -> Guess {
    let sql = skip_blank(sql);
    let word = first_word(sql);
    let reads = ["select", "with", "values", "explain"].iter().any(|known| word.eq_ignore_ascii_case(known))
        || (word.eq_ignore_ascii_case("pragma") && is_reporting_pragma(&sql[word.len()..]));
    if reads { Guess::Reads } else { Guess::Writes }
}

/// Whether a statement is a pragma that changes a setting of its connection.
pub(super) fn is_setting_pragma(sql: &str) -> bool {
    let sql = skip_blank(sql);
    let word = first_word(sql);
    word.eq_ignore_ascii_case("pragma") && !is_reporting_pragma(&sql[word.len()..])
}

/// Whether a text is one statement that changes rows and nothing else, as far as a look can tell: a semicolon within one may hide it.
pub(super) fn changes_rows(sql: &str) -> bool {
    let sql = skip_blank(sql);
    let word = first_word(sql);
    let changes = ["insert", "update", "delete", "replace"].iter().any(|known| word.eq_ignore_ascii_case(known));
    let sql = sql.trim_ascii_end();
    changes && !sql.strip_suffix(';').unwrap_or(sql).contains(';')
}

/// What is left after white space. D1 takes anything else behind a statement, even a comment, for the next statement.
pub(super) fn after_blanks(sql: &str) -> &str {
    sql.trim_ascii_start()
}

/// What is left after white space, comments and semicolons. Empty when there is no statement in the text.
pub(crate) fn skip_blank(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == '\u{feff}');
        if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end + 1..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else {
            return rest;
        }
    }
}

fn is_reporting_pragma(after_keyword: &str) -> bool {
    let after_keyword = skip_blank(after_keyword);
    let mut name = first_word(after_keyword);
    if let Some(qualified) = after_keyword[name.len()..].strip_prefix('.') {
        name = first_word(qualified);
    }
    REPORTING_PRAGMAS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn first_word(sql: &str) -> &str {
    let end = sql.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(sql.len());
    &sql[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_changes_rows_is_one_statement() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            " /* a */ update t SET a = 1 ;\n",
            "Replace INTO t VALUES (1);",
            "delete from t",
        ] {
            assert!(changes_rows(sql), "{sql}");
        }
        for sql in [
            "",
            "SELECT 1",
            "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
            "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
            "INSERT INTO t VALUES (';')",
            "INSERT INTO t VALUES (1);;",
            "INSERT INTO t VALUES (1); ;",
            "CREATE TABLE t (a)",
            "PRAGMA foreign_keys = ON",
            "BEGIN",
            "insertion",
        ] {
            assert!(!changes_rows(sql), "{sql}");
        }
    }

    #[test]
    fn comments_and_blanks_before_a_statement_do_not_hide_its_first_word() {
        for sql in [
            "select 1",
            " \n SELECT 1",
            "-- why\nSELECT 1",
            "/* why */ /* not */ With x as (select 1) select * from x",
            "; VALUES (1)",
        ] {
            assert_eq!(guess(sql), Guess::Reads, "{sql}");
        }
        for sql in ["insert into t values (1)", "-- select", "/* select", "selection", "", "create table t (a)"] {
            assert_eq!(guess(sql), Guess::Writes, "{sql}");
        }
    }

    #[test]
    fn a_pragma_that_reports_reads_and_one_that_sets_does_not() {
        assert_eq!(guess("PRAGMA table_info(users)"), Guess::Reads);
        assert_eq!(guess("PRAGMA main.table_info(users)"), Guess::Reads);
        assert_eq!(guess("PRAGMA foreign_keys = OFF"), Guess::Writes);
        assert!(is_setting_pragma("PRAGMA foreign_keys = OFF"));
        assert!(!is_setting_pragma("PRAGMA table_info(users)"));
        assert!(!is_setting_pragma("SELECT 1"));
    }

    #[test]
    fn a_text_of_comments_and_semicolons_has_nothing_left() {
        assert_eq!(skip_blank(" ; -- a\n /* b */ ;\t"), "");
        assert_eq!(skip_blank("-- a"), "");
        assert_eq!(skip_blank("/* a"), "");
    }
}
