//! The period that a run pays for, and the instant it ends.

use std::fmt;
use std::str::FromStr;

use time::macros::time;
use time::{Date, Month, OffsetDateTime};

/// A calendar month, written `2011-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    year: i32,
    month: Month,
}

/// The text is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a period: write a month as 2011-11")]
pub struct PeriodError(String);

impl Period {
    /// The last instant of the period in UTC, to the microsecond that Postgres keeps: what is due then, is paid in this
    /// run.
    pub fn cutoff(&self) -> OffsetDateTime {
        let last_day = self.month.length(self.year);
        // That it is none cannot happen: the day is the month's own last one.
        let date = Date::from_calendar_date(self.year, self.month, last_day).unwrap_or(Date::MAX);
        date.with_time(time!(23:59:59.999999)).assume_utc()
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PeriodError(text.to_owned());
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        if year.len() != 4 || month.len() != 2 || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return Err(wrong());
        }
        let month: u8 = month.parse().map_err(|_| wrong())?;
        Ok(Period { year: year.parse().map_err(|_| wrong())?, month: Month::try_from(month).map_err(|_| wrong())? })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, u8::from(self.month))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_cutoff_is_the_last_instant_in_utc() {
        let cutoff = |text: &str| text.parse::<Period>().map(|period| period.cutoff());
        assert_eq!(cutoff("2011-11"), Ok(datetime!(2011-11-30 23:59:59.999999 UTC)));
        assert_eq!(cutoff("2012-02"), Ok(datetime!(2012-02-29 23:59:59.999999 UTC)));
        assert_eq!(cutoff("9999-12"), Ok(datetime!(9999-12-31 23:59:59.999999 UTC)), "the last one there is");
        for text in ["2011-13", "2011-0", "2011", "11-2011", "2011-1", "2011-111", "+011-01", ""] {
            assert!(cutoff(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_is_shown_as_it_is_written() {
        for text in ["2011-11", "0099-01"] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()), Ok(text.to_owned()));
        }
    }
}
