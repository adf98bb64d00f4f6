use aerostack_cron::{CronExpression, MINUTE_MS, Weekdays};

use crate::parted;

/// The year 9999, beyond which nobody counts.
const LAST_MS: u64 = 253_402_300_799_000;

/// An expression, and eight bytes of time behind a zero: the next firing is later, at a minute that matches, with none in between;
/// and the words are never empty.
pub(crate) fn target(data: &[u8]) {
    let (text, rest) = parted(data);
    let mut time = [0; 8];
    rest.iter().take(8).zip(&mut time).for_each(|(from, to)| *to = *from);
    let time_ms = u64::from_le_bytes(time) % LAST_MS;
    for weekdays in [Weekdays::Unix, Weekdays::Quartz] {
        let Ok(expression) = CronExpression::parse(&text, weekdays) else { continue };
        assert_eq!(&**expression.text(), text);
        assert!(!expression.describe().is_empty());
        let again = CronExpression::parse(&text, weekdays).expect("what was read is read again");
        assert!(again == expression);
        let Some(next_ms) = expression.next_after(time_ms) else { continue };
        assert!(next_ms > time_ms && next_ms % MINUTE_MS == 0, "{text}: {next_ms} after {time_ms}");
        assert!(expression.matches(next_ms), "{text}: {next_ms} fires and does not match");
        let between = expression.firings_between(time_ms, next_ms).expect("the next firing lies there");
        assert_eq!((between.count, between.first_ms, between.last_ms), (1, next_ms, next_ms), "{text}");
        assert!(expression.firings_between(time_ms, next_ms - 1).is_none(), "{text}: something fires before the next");
    }
}
