use aerostack_config::Private;

use crate::{errors_of, warnings_of, worker_of};

#[test]
fn without_a_section_nothing_is_restricted_and_private_is_left_to_the_command() {
    let outbound = worker_of("name = \"a\"\n").outbound;
    assert!(outbound.allow.is_none() && outbound.deny.is_empty() && outbound.private.is_none());
}

#[test]
fn rules_are_kept_as_they_are_written() {
    let outbound =
        worker_of("[outbound]\nallow = [\"api.example.com\", \"*.Example.org:8443\"]\ndeny = \"10.0.0.0/8\"\n")
            .outbound;
    let shown: Vec<String> = outbound.allow.iter().flatten().chain(&outbound.deny).map(ToString::to_string).collect();
    assert_eq!(shown, ["api.example.com", "*.Example.org:8443", "10.0.0.0/8"]);
    assert_eq!(worker_of("[outbound]\nallow = []\n").outbound.allow, Some(Vec::new()));
}

#[test]
fn private_is_true_false_or_a_list_of_addresses() {
    assert_eq!(worker_of("[outbound]\nprivate = true\n").outbound.private, Some(Private::Allowed));
    assert_eq!(worker_of("[outbound]\nprivate = false\n").outbound.private, Some(Private::Denied));
    let Some(Private::Only(only)) = worker_of("[outbound]\nprivate = [\"10.0.0.5\", \"::1\"]\n").outbound.private
    else {
        panic!("a list is a list");
    };
    assert_eq!(only.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.5", "::1"]);
}

#[test]
fn wrong_rules_are_errors_with_their_line() {
    let errors = errors_of(
        "[outbound]\nallow = [\"https://a.example/\"]\ndeny = [\"10.0.0.1/8\", 5]\nprivate = [\"db.internal\"]\n",
    );
    for expected in [
        "`outbound.allow` has no rule in \"https://a.example/\": a rule names a host, without a scheme and without a path",
        "`outbound.deny` has no rule in \"10.0.0.1/8\": the range has bits behind its first 8: it starts at 10.0.0.0/8",
        "`deny` is a list of strings",
        "`outbound.private` is a list of addresses, not of names: \"db.internal\"",
        "aerostack.toml:2",
        "aerostack.toml:4",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    assert!(errors_of("[outbound]\nprivate = \"yes\"\n").contains("true, false, or a list of addresses"));
    assert!(warnings_of("[outbound]\nalow = []\n").contains("did you mean `allow`?"));
}
