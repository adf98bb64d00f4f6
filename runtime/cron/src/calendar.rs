use crate::MINUTE_MS;

/// Minutes of a day.
pub(crate) const MINUTES_A_DAY: u16 = 24 * 60;

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
    /// 0 = Sunday to 6 = Saturday.
    pub(crate) weekday: u8,
}

/// A time as `2026-11-24 21:41`, UTC. `time_ms` is in milliseconds since the UNIX epoch.
pub fn minute_text(time_ms: u64) -> String {
    let minute = time_ms / MINUTE_MS;
    let minutes_a_day = u64::from(MINUTES_A_DAY);
    let date = Date::of_day((minute / minutes_a_day) as i64);
    let of_day = minute % minutes_a_day;
    format!("{:04}-{:02}-{:02} {:02}:{:02}", date.year, date.month, date.day, of_day / 60, of_day % 60)
}

/// The inverse of [`minute_text`]; `None` for a text of another shape, and for a date that no calendar has.
pub fn minute_of_text(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(' ')?;
    let (hour, minute) = time.split_once(':')?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let day = Date::day_of(number(year)?.into(), number(month)?.into(), number(day)?.into())?;
    let (hour, minute) = (number(hour).filter(|hour| *hour < 24)?, number(minute).filter(|minute| *minute < 60)?);
    let minutes = u64::try_from(day).ok()? * u64::from(MINUTES_A_DAY) + u64::from(hour * 60 + minute);
    Some(minutes * MINUTE_MS)
}

impl Date {
    /// The inverse of [`Date::of_day`].
    fn day_of(year: i64, month: i64, day: i64) -> Option<i64> {
        let year_from_march = if month <= 2 { year - 1 } else { year };
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let year_of_era = year_from_march.rem_euclid(400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let result = year_from_march.div_euclid(400) * 146_097 + day_of_era - 719_468;
        let date = Self::of_day(result);
        ((date.year, i64::from(date.month), i64::from(date.day)) == (year, month, day)).then_some(result)
    }

    /// The date of a day counted from 1970-01-01, by eras of 400 years that begin in March, so that a leap day ends its year.
    pub(crate) fn of_day(day: i64) -> Self {
        let since_march_of_year_zero = day + 719_468;
        let era = since_march_of_year_zero.div_euclid(146_097);
        let day_of_era = since_march_of_year_zero.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: day_of_month as u8,
            // 1970-01-01 was a Thursday.
            weekday: (day + 4).rem_euclid(7) as u8,
        }
    }

    pub(crate) fn days_in_month(self) -> u8 {
        match self.month {
            2 if self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// The weekday of another day of the same month.
    pub(crate) fn weekday_of(self, day: u8) -> u8 {
        let distance = i16::from(day) - i16::from(self.day);
        (i16::from(self.weekday) + distance).rem_euclid(7) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_each_other_for_a_thousand_years() {
        let mut expected = Date { year: 1970, month: 1, day: 1, weekday: 4 };
        for day in 0..365_243 {
            assert_eq!(Date::of_day(day), expected);
            assert_eq!(Date::day_of(expected.year, expected.month.into(), expected.day.into()), Some(day));
            assert_eq!(
                expected.weekday_of(1),
                (i64::from(expected.weekday) - i64::from(expected.day - 1)).rem_euclid(7) as u8
            );
            expected.weekday = (expected.weekday + 1) % 7;
            expected.day += 1;
            if expected.day > (Date { day: 1, ..expected }).days_in_month() {
                expected.day = 1;
                expected.month = expected.month % 12 + 1;
                expected.year += i64::from(expected.month == 1);
            }
        }
    }

    #[test]
    fn a_minute_is_written_in_utc() {
        assert_eq!(minute_text(0), "1970-01-01 00:00");
        assert_eq!(minute_text(1_700_000_000_250), "2023-11-14 22:13");
        assert_eq!(minute_text(951_826_740_000), "2000-02-29 12:19");
    }

    #[test]
    fn a_minute_is_read_back_and_nothing_else_is() {
        assert_eq!(minute_of_text("2000-02-29 12:19"), Some(951_826_740_000));
        assert_eq!(minute_of_text(&minute_text(1_700_000_000_250)), Some(1_699_999_980_000));
        for text in [
            "",
            "2000-02-29",
            "2001-02-29 12:19",
            "2000-13-01 00:00",
            "2000-00-01 00:00",
            "2000-01-00 00:00",
            "2000-01-01 24:00",
            "2000-01-01 00:60",
            "1969-12-31 23:59",
            "2000-01-01 +1:00",
            "2000-01-01T00:00",
            "x-y-z a:b",
            "99999999999-01-01 00:00",
        ] {
            assert_eq!(minute_of_text(text), None, "{text}");
        }
    }
}
