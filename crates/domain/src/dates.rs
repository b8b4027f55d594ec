//! Dates that are far from now are mostly typing errors, or what a spreadsheet makes of an empty field; whoever means
//! them says so.

use time::{Duration, OffsetDateTime};

/// Clocks and time zones of those who export files differ by less.
const AHEAD: Duration = Duration::days(1);
/// No program is older.
const OLD: Duration = Duration::days(20 * 365);
/// A file is of one time: a month, or some years at once.
const OLDER_THAN_FILE: Duration = Duration::days(3 * 365);

/// Between which instants commissions are believed to be earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Believed {
    /// The first.
    pub from: OffsetDateTime,
    /// The last.
    pub to: OffsetDateTime,
}

/// What is believed now of a file whose last commission is of this instant: not more than a day ahead, not older than
/// 20 years, and not more than three years older than the last of the file.
pub fn believed(now: OffsetDateTime, last_of_file: OffsetDateTime) -> Believed {
    Believed { from: (now - OLD).max(last_of_file.min(now) - OLDER_THAN_FILE), to: now + AHEAD }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn what_is_far_from_now_or_from_its_file_is_not_believed() {
        let now = datetime!(2026-11-30 12:00 UTC);
        let is_believed = |at, last| (believed(now, last).from..=believed(now, last).to).contains(&at);
        let last = datetime!(2026-11-20 0:00 UTC);
        for at in
            [datetime!(2026-01-01 0:00 UTC), datetime!(2023-12-01 0:00 UTC), datetime!(2026-12-01 11:00 UTC), last]
        {
            assert!(is_believed(at, last), "{at}");
        }
        for at in [
            datetime!(1970-01-01 0:00 UTC),
            datetime!(2016-11-01 0:00 UTC),
            datetime!(2026-12-02 0:00 UTC),
            datetime!(2062-01-01 0:00 UTC),
        ] {
            assert!(!is_believed(at, last.max(at)), "{at}");
        }
        // Old data, all of it, as long as it is not older than any program.
        let last = datetime!(2011-12-09 0:00 UTC);
        assert!(is_believed(datetime!(2010-12-01 0:00 UTC), last) && is_believed(last, last));
        let last = datetime!(1998-12-09 0:00 UTC);
        assert!(!is_believed(last, last));
    }
}
