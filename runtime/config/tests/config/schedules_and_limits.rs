use std::net::IpAddr;

use aerostack_config::{Limits, Weekdays, WhenMissed};

use crate::{config_of, errors_of, warnings_of, worker_of};

#[test]
fn crons_keep_their_text_and_their_place() {
    let triggers = worker_of("[triggers]\ncrons = [\"0 9 * * 1\", \"*/5  * * * *\"]\n").triggers;
    assert_eq!(triggers.crons[1].value.to_string(), "*/5  * * * *");
    assert_eq!(triggers.crons[1].span.to_string(), "aerostack.toml:2:23");
    assert_eq!(triggers.weekdays, Weekdays::Unix);
}

#[test]
fn several_trigger_sections_add_up() {
    let triggers = worker_of(
        "[[triggers]]\ncrons = [\"0 * * * *\"]\n[[triggers]]\ncrons = \"* * * * *\"\nweekdays = \"quartz\"\n",
    )
    .triggers;
    assert_eq!(triggers.crons.len(), 2);
    assert_eq!(triggers.weekdays, Weekdays::Quartz);
}

#[test]
fn a_cron_expression_has_five_fields() {
    let rendered = errors_of("[triggers]\ncrons = [\"* * * * * *\", \"\", \"@daily\", 5]\n");
    assert!(rendered.contains("a cron expression has 5 fields, \"* * * * * *\" has 6"), "{rendered}");
    assert!(rendered.contains("there is no field for seconds"), "{rendered}");
    assert!(rendered.contains("names such as @daily are not supported"), "{rendered}");
    assert!(rendered.contains("\"\" has 0"), "{rendered}");
    assert!(rendered.contains("expected a string, found an integer"), "{rendered}");
}

#[test]
fn one_worker_counts_weekdays_in_one_way() {
    let rendered = errors_of("[[triggers]]\nweekdays = \"unix\"\n[[triggers]]\nweekdays = \"quartz\"\n");
    assert!(rendered.contains("one worker cannot count weekdays in two ways"), "{rendered}");
    assert!(errors_of("[triggers]\nweekdays = \"lunar\"\n").contains("allowed: \"unix\", \"quartz\""));
}

#[test]
fn a_wrong_cron_expression_is_shown_at_its_place() {
    insta::assert_snapshot!(
        errors_of("[triggers]\ncrons = [\"0 9 * * MON\", \"*/5 25 * * *\", \"0\\u0020*/0 * * *\", \"* * * * 8\"]\n"),
        @r#"
    error: "25" is out of range in the hour field of "*/5 25 * * *"
     --> aerostack.toml:2:30
      |
    2 | crons = ["0 9 * * MON", "*/5 25 * * *", "0\u0020*/0 * * *", "* * * * 8"]
      |                              ^^
      |
      = help: values are 0 to 23

    error: "0" is out of range in the hour field of "0 */0 * * *"
     --> aerostack.toml:2:41
      |
    2 | crons = ["0 9 * * MON", "*/5 25 * * *", "0\u0020*/0 * * *", "* * * * 8"]
      |                                         ^^^^^^^^^^^^^^^^^^
      |
      = help: steps are 1 to 23

    error: "8" is out of range in the weekday field of "* * * * 8"
     --> aerostack.toml:2:70
      |
    2 | crons = ["0 9 * * MON", "*/5 25 * * *", "0\u0020*/0 * * *", "* * * * 8"]
      |                                                                      ^
      |
      = help: values are 0 to 7
      = help: weekdays count from 1 = Monday to 7 = Sunday here, and 0 is Sunday too
    "#
    );
}

#[test]
fn digits_of_weekdays_are_read_as_the_worker_counts_them() {
    let next = |config: &str| worker_of(config).triggers.crons[0].value.next_after(0);
    let monday = next("[triggers]\ncrons = [\"0 9 * * MON\"]\n");
    assert_eq!(next("[triggers]\ncrons = [\"0 9 * * 1\"]\n"), monday);
    // Another section of the same worker says how.
    let quartz = "[[triggers]]\ncrons = [\"0 9 * * 2\"]\n[[triggers]]\nweekdays = \"quartz\"\n";
    assert_eq!(next(quartz), monday);
    assert!(
        errors_of("[triggers]\ncrons = [\"0 9 * * 0\"]\nweekdays = \"quartz\"\n")
            .contains("1 = Sunday to 7 = Saturday")
    );
}

#[test]
fn a_cron_expression_that_never_fires_is_a_warning() {
    let rendered = warnings_of("[triggers]\ncrons = [\"* * 31 11 *\"]\n");
    assert!(rendered.contains("warning: the cron expression \"* * 31 11 *\" never fires"), "{rendered}");
}

#[test]
fn missed_firings_are_skipped_unless_the_config_says_otherwise() {
    assert_eq!(worker_of("").triggers.missed, WhenMissed::Skip);
    assert_eq!(worker_of("[triggers]\nmissed = \"skip\"\n").triggers.missed, WhenMissed::Skip);
    assert_eq!(worker_of("[triggers]\nmissed = \"latest\"\n").triggers.missed, WhenMissed::RunLatest);
    assert!(errors_of("[triggers]\nmissed = \"all\"\n").contains("allowed: \"skip\", \"latest\""));
    let rendered = errors_of("[[triggers]]\nmissed = \"skip\"\n[[triggers]]\nmissed = \"latest\"\n");
    assert!(rendered.contains("one worker cannot treat missed firings in two ways"), "{rendered}");
}

#[test]
fn limits_have_the_documented_defaults() {
    let limits = worker_of("").limits;
    assert_eq!(limits, Limits::default());
    assert_eq!((limits.cpu_ms, limits.wall_ms), (30_000, Some(120_000)));
    assert_eq!((limits.memory_mb, limits.array_buffer_mb, limits.request_body_mb), (128, 128, 100));
    assert_eq!((limits.concurrent_requests, limits.queued_requests, limits.subrequests), (1_000, 1_000, 1_000));
    assert_eq!((limits.response_body_mb, limits.log_kb, limits.wait_until_ms), (None, 256, 30_000));
    assert_eq!((limits.queue_backlog_mb, limits.connections), (25_600, 16_384));
}

#[test]
fn limits_are_read_and_checked() {
    let limits = worker_of("[limits]\ncpu_ms = 50\nwall_ms = 0\nevent_wall_ms = 7\nmemory_mb = 256\narray_buffer_mb = 64\nrequest_body_mb = 1\nconcurrent_requests = 2\nsubrequests = 3\nresponse_body_mb = 4\nqueued_requests = 0\nlog_kb = 5\nwait_until_ms = 6\nqueue_backlog_mb = 8\nconnections = 9\n").limits;
    let expected = Limits {
        cpu_ms: 50,
        wall_ms: None,
        event_wall_ms: 7,
        memory_mb: 256,
        array_buffer_mb: 64,
        request_body_mb: 1,
        response_body_mb: Some(4),
        concurrent_requests: 2,
        queued_requests: 0,
        subrequests: 3,
        log_kb: 5,
        wait_until_ms: 6,
        queue_backlog_mb: 8,
        connections: 9,
    };
    assert_eq!(limits, expected);
    let rendered = errors_of("[limits]\ncpu_ms = 0\nmemory_mb = 8\nwall_ms = -1\nsubrequests = 1.5\n");
    assert!(rendered.contains("`limits.cpu_ms` is out of range: 0"), "{rendered}");
    assert!(rendered.contains("allowed: 16 to 16384 MiB"), "{rendered}");
    assert!(rendered.contains("`limits.wall_ms` is out of range: -1"), "{rendered}");
    assert!(rendered.contains("`limits.subrequests` must be an integer"), "{rendered}");
}

#[test]
fn the_development_server_has_a_port_an_address_and_a_state_folder() {
    let dev = config_of("[dev]\nport = 3000\nip = \"0.0.0.0\"\npersist_to = \"../state\"\n").dev;
    assert_eq!(dev.port, Some(3000));
    assert_eq!(dev.ip, "0.0.0.0".parse::<IpAddr>().expect("an address"));
    assert_eq!(dev.persist_to.to_str(), Some("/state"));
    let defaults = config_of("").dev;
    assert_eq!((defaults.port, defaults.ip.to_string().as_str()), (None, "127.0.0.1"));
    assert_eq!(config_of("[dev]\nhost = \"localhost\"\n").dev.ip.to_string(), "127.0.0.1");
    assert_eq!(config_of("[dev]\nip = \"*\"\n").dev.ip.to_string(), "0.0.0.0");
    assert!(errors_of("[dev]\nip = \"example.com\"\n").contains("`dev.ip` is not an address"));
    assert!(errors_of("[dev]\nport = 65536\n").contains("allowed: 0 to 65535"));
}

#[test]
fn a_compatibility_date_is_a_date_and_its_absence_is_fine() {
    assert_eq!(worker_of("").compatibility_date, None);
    assert_eq!(worker_of("compatibility_date = \"2024-11-01\"").compatibility_date.as_deref(), Some("2024-11-01"));
    assert_eq!(worker_of("compatibility_date = 2024-11-01").compatibility_date.as_deref(), Some("2024-11-01"));
    for wrong in ["\"today\"", "\"2024-13-01\"", "\"24-1-1\"", "2024", "2024-11-01T00:00:00Z"] {
        let rendered = errors_of(&format!("compatibility_date = {wrong}"));
        assert!(rendered.contains("compatibility_date"), "{rendered}");
    }
}

#[test]
fn a_compatibility_flag_that_changes_nothing_is_a_warning() {
    let served = "compatibility_flags = [\"url_standard\", \"no_queues_json_messages\"]";
    assert_eq!(worker_of(served).compatibility_flags, ["url_standard", "no_queues_json_messages"]);
    let warnings = warnings_of("compatibility_flags = [\"nodejs_compat\", \"x\"]");
    assert!(warnings.contains("compatibility flag \"nodejs_compat\" is not supported yet"), "{warnings}");
    assert!(warnings.contains("`node:` modules cannot be imported"), "{warnings}");
    assert!(warnings.contains("compatibility flag \"x\" has no effect"), "{warnings}");
}
