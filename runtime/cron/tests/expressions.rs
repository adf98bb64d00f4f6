//! The grammar of production, its vectors, and what differs from it on purpose.

use aerostack_cron::{CronExpression, MINUTE_MS, Weekdays, minute_text};
use proptest::prelude::*;

fn unix(text: &str) -> CronExpression {
    CronExpression::parse(text, Weekdays::Unix).unwrap_or_else(|error| panic!("{error}"))
}

fn quartz(text: &str) -> CronExpression {
    CronExpression::parse(text, Weekdays::Quartz).unwrap_or_else(|error| panic!("{error}"))
}

/// Milliseconds of `2026-11-24 21:41`.
fn at(text: &str) -> u64 {
    let numbers: Vec<i64> = text.split(['-', ' ', ':']).map(|number| number.parse().expect("a number")).collect();
    let [year, month, day, hour, minute] = numbers[..] else { panic!("{text} is no minute") };
    // The inverse of the formula under test, written another way: count the days of years and months.
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>()
        + months[..month as usize - 1].iter().sum::<i64>()
        + day
        - 1;
    ((days * 24 + hour) * 60 + minute) as u64 * MINUTE_MS
}

/// The first firings at or after a minute.
fn firings(expression: &CronExpression, from: &str, count: usize) -> Vec<String> {
    let mut now = at(from) - 1;
    (0..count)
        .map(|_| {
            now = expression.next_after(now).expect("it fires");
            minute_text(now)
        })
        .collect()
}

fn assert_fires(expression: &CronExpression, minutes: &[&str]) {
    for minute in minutes {
        assert!(expression.matches(at(minute)), "{expression:?} fires at {minute}");
        assert_eq!(expression.next_after(at(minute) - 1), Some(at(minute)), "{expression:?}");
    }
}

fn assert_silent(expression: &CronExpression, minutes: &[&str]) {
    for minute in minutes {
        assert!(!expression.matches(at(minute)), "{expression:?} does not fire at {minute}");
    }
}

fn error_of(text: &str, weekdays: Weekdays) -> (String, String) {
    let error = CronExpression::parse(text, weekdays).expect_err(text);
    assert!(!error.message.is_empty());
    (text[error.range].to_owned(), format!("{}\n{}", error.message, error.help.join("\n")))
}

#[test]
fn every_minute_is_every_minute() {
    let every = quartz("* * * * *");
    assert_fires(&every, &["1970-01-01 00:01", "2016-11-08 23:53", "2020-07-04 15:42", "2072-02-29 01:15"]);
    assert_eq!(every.next_after(0), Some(MINUTE_MS));
    assert_eq!(every.next_after(MINUTE_MS - 1), Some(MINUTE_MS));
    let spelled_out = quartz("0-59 0-23 1-31 1-12 1-7");
    assert_fires(&spelled_out, &["2016-11-08 23:53", "2072-02-29 01:15"]);
}

#[test]
fn one_minute_of_the_year_is_that_minute() {
    for text in ["5 0 23 8 *", "5-5 0-0 23-23 8-8 *", "05 00 23 AUG *"] {
        let expression = quartz(text);
        assert_fires(&expression, &["2020-08-23 00:05"]);
        assert!(expression.matches(at("2020-08-23 00:05") + 30_000), "seconds do not matter");
        assert_silent(&expression, &["2016-11-08 23:53", "2020-07-04 15:42", "2020-08-23 11:05", "2020-08-23 00:06"]);
    }
}

#[test]
fn ranges_wrap_around_and_hold_nothing_before_their_start() {
    let everything = quartz("59-0 23-0 31-1 12-1 *");
    for day in ["01-31", "01-01", "12-31", "12-01"] {
        for time in ["00:59", "00:00", "23:59", "23:00"] {
            assert_fires(&everything, &[&format!("2020-{day} {time}")]);
        }
    }
    assert_silent(&everything, &["2020-01-31 22:59", "2020-01-30 23:59", "2020-11-30 23:59", "2020-01-31 23:58"]);
    assert_fires(
        &quartz("0 22-2 * * *"),
        &["2020-01-01 22:00", "2020-01-01 23:00", "2020-01-01 00:00", "2020-01-01 02:00"],
    );
    assert_silent(&quartz("0 22-2 * * *"), &["2020-01-01 21:00", "2020-01-01 03:00"]);
    assert_fires(&quartz("0 0 * JAN SAT-SUN"), &["2020-01-04 00:00", "2020-01-05 00:00", "2020-01-12 00:00"]);
    let long_weekend = quartz("0 0 * * FRI-MON");
    assert_eq!(
        firings(&long_weekend, "2026-11-26 00:00", 5),
        ["2026-11-27 00:00", "2026-11-28 00:00", "2026-11-29 00:00", "2026-11-30 00:00", "2026-12-04 00:00"]
    );
}

#[test]
fn steps_begin_at_their_start_and_wrap_with_their_range() {
    assert_fires(
        &quartz("*/15,30-59/10 0 * * *"),
        &["2020-01-01 00:15", "2020-01-01 00:40", "2020-01-01 00:45", "2020-01-01 00:50"],
    );
    assert_silent(&quartz("*/15,30-59/10 0 * * *"), &["2020-01-01 00:10", "2020-01-01 00:59"]);
    let wrapping = quartz("0 20-4/2 * * *");
    assert_eq!(
        firings(&wrapping, "2020-01-01 03:00", 6),
        [
            "2020-01-01 04:00",
            "2020-01-01 20:00",
            "2020-01-01 22:00",
            "2020-01-02 00:00",
            "2020-01-02 02:00",
            "2020-01-02 04:00"
        ]
    );
    assert_eq!(
        firings(&quartz("50/5 * * * *"), "2020-01-01 00:00", 3),
        ["2020-01-01 00:50", "2020-01-01 00:55", "2020-01-01 01:50"]
    );
    // The round begins anew at its start: 59 and 0 are one minute apart.
    assert_eq!(firings(&quartz("*/7 * * * *"), "2020-01-01 00:56", 2), ["2020-01-01 00:56", "2020-01-01 01:00"]);
}

#[test]
fn the_last_day_knows_leap_years() {
    let last = quartz("0 0 L FEB *");
    assert_fires(
        &last,
        &[
            "2400-02-29 00:00",
            "2300-02-28 00:00",
            "2200-02-28 00:00",
            "2100-02-28 00:00",
            "2024-02-29 00:00",
            "2000-02-29 00:00",
        ],
    );
    let before = quartz("0 0 L-1 FEB *");
    assert_fires(&before, &["2400-02-28 00:00", "2300-02-27 00:00", "2024-02-28 00:00", "2000-02-28 00:00"]);
    assert_silent(&before, &["2400-02-29 00:00", "2300-02-28 00:00", "2024-02-29 00:00"]);
    assert_fires(&quartz("0 0 L-30 * *"), &["2021-01-01 00:00"]);
    assert_silent(&quartz("0 0 L-30 * *"), &["2021-02-01 00:00", "2021-04-01 00:00", "2021-04-30 00:00"]);
    assert_eq!(
        firings(&quartz("0 0 29 2 *"), "2096-01-01 00:00", 2),
        ["2096-02-29 00:00", "2104-02-29 00:00"],
        "2100 is no leap year"
    );
}

#[test]
fn the_nearest_weekday_stays_in_its_month() {
    assert_fires(&quartz("0 0 L-30W * *"), &["2021-05-03 00:00", "2022-01-03 00:00"]);
    assert_silent(&quartz("0 0 L-28W FEB *"), &["2021-05-03 00:00", "2022-01-03 00:00", "2021-02-01 00:00"]);
    assert_fires(&quartz("0 0 LW MAY *"), &["2025-05-30 00:00", "2021-05-31 00:00", "2020-05-29 00:00"]);
    assert_fires(&quartz("0 0 L-1W MAY *"), &["2025-05-30 00:00", "2021-05-31 00:00", "2020-05-29 00:00"]);
    assert_fires(&quartz("0 0 1W MAY *"), &["2020-05-01 00:00", "2022-05-02 00:00", "2021-05-03 00:00"]);
    assert_silent(&quartz("0 0 1W MAY *"), &["2021-04-30 00:00", "2021-05-01 00:00", "2021-05-04 00:00"]);
    assert_fires(&quartz("0 0 31W * *"), &["2021-10-29 00:00"]);
    assert_silent(&quartz("0 0 31W * *"), &["2021-04-30 00:00", "2021-10-31 00:00"]);
    // The 28th of August 2021 is a Saturday: the Friday before, and not the Monday after too.
    assert_fires(&quartz("0 0 L-3W * *"), &["2021-08-27 00:00"]);
    assert_silent(&quartz("0 0 L-3W * *"), &["2021-08-30 00:00", "2021-08-28 00:00"]);
}

#[test]
fn the_last_and_the_nth_weekday_of_a_month() {
    for text in ["0 0 * * 7L", "0 0 * * satL"] {
        let last = quartz(text);
        assert_fires(
            &last,
            &["2020-01-25 00:00", "2020-02-29 00:00", "2020-03-28 00:00", "2020-04-25 00:00", "2020-05-30 00:00"],
        );
        assert_silent(&last, &["2020-01-31 00:00", "2020-02-28 00:00", "2020-03-31 00:00", "2020-02-22 00:00"]);
    }
    assert_eq!(firings(&quartz("0 0 * * 6L"), "2026-11-01 00:00", 2), ["2026-11-27 00:00", "2026-12-25 00:00"]);
    assert_eq!(firings(&quartz("0 0 * * friL"), "2026-11-01 00:00", 2), ["2026-11-27 00:00", "2026-12-25 00:00"]);
    for text in ["0 0 * * SAT#5", "0 0 * * 7#5"] {
        assert_eq!(
            firings(&quartz(text), "2020-01-01 00:00", 4),
            ["2020-02-29 00:00", "2020-05-30 00:00", "2020-08-29 00:00", "2020-10-31 00:00"]
        );
    }
    assert_fires(&quartz("0 0 * * L"), &["2020-01-25 00:00", "2020-02-01 00:00"]);
}

#[test]
fn a_day_and_a_weekday_mean_either() {
    let either = quartz("0 0 13 * FRI");
    assert_eq!(
        firings(&either, "2026-11-10 00:00", 4),
        ["2026-11-13 00:00", "2026-11-20 00:00", "2026-11-27 00:00", "2026-12-04 00:00"]
    );
    assert_fires(&either, &["2026-12-13 00:00"]);
}

#[test]
fn digits_of_weekdays_count_as_asked_and_names_mean_the_same() {
    assert_eq!(firings(&unix("0 9 * * 1"), "2026-11-24 00:00", 1), ["2026-11-30 09:00"], "a Monday");
    assert_eq!(firings(&quartz("0 9 * * 1"), "2026-11-24 00:00", 1), ["2026-11-29 09:00"], "a Sunday");
    for sunday in ["0 0 * * 0", "0 0 * * 7", "0 0 * * SUN", "0 0 * * sun", "0 0 * * 7-0", "0 0 * * 0,7"] {
        assert_eq!(firings(&unix(sunday), "2026-11-24 00:00", 2), ["2026-11-29 00:00", "2026-12-06 00:00"], "{sunday}");
    }
    for (text, days) in [
        ("1-5", vec![1, 2, 3, 4, 5]),
        ("0-7", vec![0, 1, 2, 3, 4, 5, 6]),
        ("1-7", vec![0, 1, 2, 3, 4, 5, 6]),
        ("5-7", vec![0, 5, 6]),
        ("5-1", vec![0, 1, 5, 6]),
        ("7-2", vec![0, 1, 2]),
        ("1-7/2", vec![0, 1, 3, 5]),
        ("*/2", vec![0, 2, 4, 6]),
        ("1/2", vec![1, 3, 5]),
        ("7/2", vec![0, 2, 4, 6]),
        ("MON-SUN", vec![0, 1, 2, 3, 4, 5, 6]),
    ] {
        let expression = unix(&format!("0 0 * * {text}"));
        // 2026-11-22 is a Sunday.
        let matching: Vec<u64> =
            (0..7).filter(|day| expression.matches(at("2026-11-22 00:00") + day * 24 * 60 * MINUTE_MS)).collect();
        assert_eq!(matching, days, "{text}");
    }
    for named in ["MON/2", "FRI-MON", "*/3", "friL", "TUE#2", "L", "SAT-TUE/2"] {
        let text = format!("0 0 * * {named}");
        assert_eq!(
            firings(&unix(&text), "2026-11-24 00:00", 9),
            firings(&quartz(&text), "2026-11-24 00:00", 9),
            "{named}"
        );
    }
}

#[test]
fn what_no_date_matches_parses_and_never_fires() {
    for text in ["* * 31 11 *", "* * 30 2 *", "* * 31W 4 *", "* * L-30 2,4 *", "* * L-29W FEB *"] {
        assert_eq!(quartz(text).next_after(0), None, "{text}");
        assert_eq!(quartz(text).firings_between(0, at("2400-01-01 00:00")), None, "{text}");
        assert_eq!(quartz(text).describe(), "never: no date matches");
    }
    // Once in 28 years, and over 2100, which is no leap year, once in 40.
    assert_eq!(
        firings(&quartz("0 0 * 2 MON#5"), "2024-03-01 00:00", 4),
        ["2044-02-29 00:00", "2072-02-29 00:00", "2112-02-29 00:00", "2140-02-29 00:00"]
    );
}

#[test]
fn month_ends_leap_days_and_year_ends_are_crossed() {
    let every = unix("* * * * *");
    for (before, after) in [
        ("2026-11-30 23:59", "2026-12-01 00:00"),
        ("2026-12-31 23:59", "2027-01-01 00:00"),
        ("2028-02-28 23:59", "2028-02-29 00:00"),
        ("2028-02-29 23:59", "2028-03-01 00:00"),
        ("2027-02-28 23:59", "2027-03-01 00:00"),
        ("2100-02-28 23:59", "2100-03-01 00:00"),
    ] {
        assert_eq!(every.next_after(at(before)), Some(at(after)));
        assert_eq!(every.next_after(at(after) - 1), Some(at(after)));
    }
    assert_eq!(
        firings(&unix("30 4 31 * *"), "2026-11-24 00:00", 3),
        ["2026-12-31 04:30", "2027-01-31 04:30", "2027-03-31 04:30"]
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, wrong, reason) in [
        ("60 * * * *", "60", "\"60\" is out of range in the minute field of \"60 * * * *\"\nvalues are 0 to 59"),
        ("* 24 * * *", "24", "values are 0 to 23"),
        ("* * 0 * *", "0", "values are 1 to 31"),
        ("* * * 13 *", "13", "values are 1 to 12"),
        ("* * * * 8", "8", "weekdays count from 1 = Sunday to 7 = Saturday here"),
        ("* * * * 0", "0", "weekdays count from 1 = Sunday to 7 = Saturday here"),
        ("* * * FOO *", "FOO", "values are 1 to 12 and JAN to DEC"),
        ("*,* * * * *", "*", "\"*\" cannot stand in a list"),
        ("1,* * * * *", "*", "\"*\" cannot stand in a list"),
        ("*/0 * * * *", "0", "steps are 1 to 59"),
        ("*/60 * * * *", "60", "steps are 1 to 59"),
        ("* */24 * * *", "24", "steps are 1 to 23"),
        ("* * */31 * *", "31", "steps are 1 to 30"),
        ("* * * * */7", "7", "steps are 1 to 6"),
        ("1-x * * * *", "x", "\"x\" is not understood"),
        ("1, * * * *", "1,", "lacks a number"),
        ("1/ * * * *", "1/", "lacks a number"),
        ("-5 * * * *", "-5", "lacks a number"),
        ("*-5 * * * *", "*", "`*` stands alone or before a step"),
        ("*/x * * * *", "x", "\"x\" is not a number"),
        ("999999999999 * * * *", "999999999999", "is out of range"),
        ("* * L,5 * *", "L", "\"L\" cannot stand in a list"),
        ("* * 15W,5 * *", "15W", "cannot stand in a list"),
        ("* * l * *", "l", "`l` is written `L`"),
        ("* * 15w * *", "15w", "`w` is written `W`"),
        ("* * L-31 * *", "31", "days before the last are 1 to 30"),
        ("* * L-0 * *", "0", "days before the last are 1 to 30"),
        ("* * L3 * *", "L3", "the last day is `L`"),
        ("* * W * *", "W", "lacks a number"),
        ("* * 32W * *", "32", "values are 1 to 31"),
        ("* * * * FRI#6", "6", "weeks of the month are 1 to 5"),
        ("* * * * FRI#", "FRI#", "lacks a number"),
        ("* * * * MON,friL", "friL", "cannot stand in a list"),
        ("* * ? * *", "?", "write `*`"),
        ("0 0 * * \u{fc}", "\u{fc}", "is not understood"),
        (" 0 0 * * *", " ", "write \"0 0 * * *\""),
        ("0 0 * * * ", " ", "write \"0 0 * * *\""),
        ("* * * *", "* * * *", "a cron expression has 5 fields, \"* * * *\" has 4"),
        ("* * * * * *", "* * * * * *", "there is no field for seconds"),
        ("@daily", "@daily", "write \"0 0 * * *\""),
        ("@hourly", "@hourly", "write \"0 * * * *\""),
        ("", "", "a cron expression has 5 fields, \"\" has 0"),
    ] {
        let (place, message) = error_of(text, Weekdays::Quartz);
        assert_eq!(place, wrong, "{text}: {message}");
        assert!(message.contains(reason), "{text}: {message}");
    }
    let (place, message) = error_of("0 9 * * 8", Weekdays::Unix);
    assert_eq!(place, "8");
    assert!(message.contains("1 = Monday to 7 = Sunday here, and 0 is Sunday too"), "{message}");
}

#[test]
fn spaces_and_tabs_part_fields_and_the_text_is_kept() {
    let expression = unix("*/5  *\t* * *");
    assert_eq!(&**expression.text(), "*/5  *\t* * *");
    assert_eq!(expression.to_string(), "*/5  *\t* * *");
}

#[test]
fn schedules_read_as_english() {
    for (text, words) in [
        ("* * * * *", "every minute"),
        ("*/1 * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0 * * * *", "every hour"),
        ("7 * * * *", "at minute 7 of every hour"),
        ("0,15 * * * *", "at minutes 0 and 15 of every hour"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("0-10 * * * *", "at minutes 0 to 10 of every hour"),
        ("0 */6 * * *", "every 6 hours"),
        ("0 0 * * *", "at 00:00"),
        ("0 9 * * 1", "at 09:00 on Monday"),
        ("30 9,17 * * 1-5", "at 09:30 and 17:30 on Monday to Friday"),
        ("*/10 9-17 * * *", "every 10 minutes of hours 9 to 17"),
        ("* 9 * * *", "every minute of hour 9"),
        ("5 */2 * * *", "at minute 5 of every 2 hours, from 0"),
        ("0 0 1 * *", "at 00:00 on day 1 of the month"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of the month"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 L-1 * *", "at 00:00 on the day before the last of the month"),
        ("0 0 L-3 * *", "at 00:00 3 days before the last of the month"),
        ("0 0 LW * *", "at 00:00 on the last weekday of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday nearest day 15 of the month"),
        ("0 0 * * friL", "at 00:00 on the last Friday of the month"),
        ("0 0 * * SAT#5", "at 00:00 on the fifth Saturday of the month"),
        ("0 0 * * FRI-MON", "at 00:00 on Friday to Monday"),
        ("0 0 * * SAT,SUN", "at 00:00 on Saturday and Sunday"),
        ("0 0 13 * FRI", "at 00:00 on day 13 of the month or on Friday"),
        ("0 0 1 JAN *", "at 00:00 on day 1 of the month in January"),
        ("0 0 * 11-2 *", "at 00:00 in November to February"),
    ] {
        assert_eq!(unix(text).describe(), words, "{text}");
    }
}

/// One field as anybody may write it.
fn field(min: u8, max: u8) -> impl Strategy<Value = String> {
    let value = min..=max;
    let part = prop_oneof![
        value.clone().prop_map(|value| value.to_string()),
        (value.clone(), value.clone()).prop_map(|(first, last)| format!("{first}-{last}")),
        (value.clone(), value.clone(), 1..max - min).prop_map(|(first, last, step)| format!("{first}-{last}/{step}")),
        (value, 1..max - min).prop_map(|(first, step)| format!("{first}/{step}")),
        (1..max - min).prop_map(|step| format!("*/{step}")),
    ];
    prop_oneof![1 => Just("*".to_owned()), 2 => prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(","))]
}

fn any_expression() -> impl Strategy<Value = CronExpression> {
    let day = prop_oneof![
        4 => field(1, 31),
        1 => Just("L".to_owned()),
        1 => Just("LW".to_owned()),
        1 => (1_u8..=30).prop_map(|before| format!("L-{before}")),
        1 => (1_u8..=30).prop_map(|before| format!("L-{before}W")),
        1 => (1_u8..=31).prop_map(|day| format!("{day}W")),
    ];
    let weekday = prop_oneof![
        4 => field(1, 7),
        1 => (1_u8..=7).prop_map(|day| format!("{day}L")),
        1 => (1_u8..=7, 1_u8..=5).prop_map(|(day, nth)| format!("{day}#{nth}")),
    ];
    let weekdays = prop_oneof![Just(Weekdays::Unix), Just(Weekdays::Quartz)];
    (field(0, 59), field(0, 23), day, field(1, 12), weekday, weekdays).prop_map(
        |(minute, hour, day, month, weekday, weekdays)| {
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            CronExpression::parse(&text, weekdays).unwrap_or_else(|error| panic!("{error}"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The searches agree with trying every minute of some days.
    #[test]
    fn searching_is_the_same_as_trying_every_minute(expression in any_expression(), start in 0_u64..4_000_000_000_000) {
        let minutes = (start / MINUTE_MS + 1)..(start / MINUTE_MS + 4 * 24 * 60);
        let last = (minutes.end - 1) * MINUTE_MS;
        let tried: Vec<u64> = minutes.map(|minute| minute * MINUTE_MS).filter(|ms| expression.matches(*ms)).collect();
        let next = expression.next_after(start);
        match tried.first() {
            Some(first) => prop_assert_eq!(next, Some(*first)),
            None => prop_assert!(next.is_none_or(|next| next > last)),
        }
        let found = expression.firings_between(start, last);
        prop_assert_eq!(found.map(|found| found.count), (!tried.is_empty()).then_some(tried.len() as u64));
        prop_assert_eq!(found.map(|found| found.first_ms), tried.first().copied());
        prop_assert_eq!(found.map(|found| found.last_ms), tried.last().copied());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ *,/#LWl0-9A-Z?\u{fc}-]{0,24}") {
        for weekdays in [Weekdays::Unix, Weekdays::Quartz] {
            match CronExpression::parse(&text, weekdays) {
                Ok(expression) => prop_assert!(!expression.describe().is_empty()),
                Err(error) => prop_assert!(text.get(error.range).is_some()),
            }
        }
    }
}
