//! Dates as other systems write them, made instants.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::shown::shown;

/// The forms and the time zone of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dates {
    forms: Vec<String>,
    zone: Option<TimeZone>,
}

/// The form of our own files.
const RFC_3339: &str = "rfc3339";

impl Dates {
    /// These forms in this time zone.
    pub(crate) fn new(forms: &[String], zone: Option<&str>) -> Result<Dates, String> {
        let zone = match zone {
            None => None,
            Some(name) => Some(TimeZone::get(name).map_err(|_| {
                format!("time_zone: {} is no time zone of the IANA's list, such as Europe/Berlin or UTC", shown(name))
            })?),
        };
        for form in forms.iter().filter(|form| *form != RFC_3339) {
            let wrong = |what: &str| format!("dates: {}: {what}", shown(form));
            // Whatever the form cannot say of one instant, it cannot read.
            let is_form = strtime::format(form, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC));
            is_form.map_err(|error| wrong(&error.to_string()))?;
            let has = |what: &[&str]| what.iter().any(|what| form.contains(what));
            if !has(&["%Y", "%y", "%F", "%D", "%G", "%s", "%c", "%x"]) {
                return Err(wrong("it reads no year; write it as for strptime, such as %Y-%m-%d %H:%M:%S"));
            }
            if zone.is_none() && !has(&["%z", "%:z", "%Q", "%:Q", "%s"]) {
                return Err(wrong("it names no time zone; add time_zone = \"Europe/Berlin\", or what it is"));
            }
        }
        Ok(Dates { forms: forms.to_owned(), zone })
    }

    /// The instant in RFC 3339, or what is wrong. What is written so already is left to whoever reads it.
    pub(crate) fn instant(&self, text: &str) -> Result<String, String> {
        if self.forms.is_empty() {
            return Ok(text.to_owned());
        }
        let text = text.trim();
        let mut found: Option<(Timestamp, &str)> = None;
        for form in &self.forms {
            let Some(instant) = self.by(form, text)? else { continue };
            match found {
                Some((before, other)) if before != instant => {
                    return Err(format!(
                        "{} is {before} by the form {other} and {instant} by the form {form}; leave the wrong form out of the mapping",
                        shown(text)
                    ));
                }
                _ => found = Some((instant, form)),
            }
        }
        let expected = || {
            format!(
                "{} is no date of the form {}; correct it, or the mapping's dates",
                shown(text),
                self.forms.join(" or ")
            )
        };
        found.map(|(instant, _)| instant.to_string()).ok_or_else(expected)
    }

    /// By one form; nothing if the text is not of it.
    fn by(&self, form: &str, text: &str) -> Result<Option<Timestamp>, String> {
        if form == RFC_3339 {
            return Ok(text.parse().ok());
        }
        let Ok(parsed) = strtime::parse(form, text) else { return Ok(None) };
        if let Ok(instant) = parsed.to_timestamp() {
            return Ok(Some(instant));
        }
        let Some(zone) = &self.zone else { return Ok(None) };
        if parsed.hour().is_none() {
            // The day's first instant, which is not midnight everywhere.
            let day = parsed.to_date().ok().and_then(|date| date.to_zoned(zone.clone()).ok());
            return Ok(day.map(|day| day.timestamp()));
        }
        let Ok(local) = parsed.to_datetime() else { return Ok(None) };
        let local = zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { .. } = local.offset() {
            let name = zone.iana_name().unwrap_or("the time zone");
            return Err(format!(
                "{} is not there in {name}: clocks went forward over it; the mapping's time_zone is another one than the file's",
                shown(text)
            ));
        }
        // The first of two, as RFC 5545 says.
        Ok(local.compatible().ok())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn dates(forms: &[&str], zone: Option<&str>) -> Result<Dates, String> {
        Dates::new(&forms.iter().map(|&form| form.to_owned()).collect::<Vec<_>>(), zone)
    }

    #[test]
    fn dates_become_instants() {
        let berlin = Some("Europe/Berlin");
        for (forms, zone, text, expected) in [
            (&["%Y-%m-%d %H:%M:%S"][..], berlin, "2026-01-31 23:30:00", "2026-01-31T22:30:00Z"),
            (&["%Y-%m-%d"], berlin, "2026-07-01", "2026-06-30T22:00:00Z"),
            (&["%d/%m/%Y %H:%M"], Some("UTC"), "1/2/2026 3:04", "2026-02-01T03:04:00Z"),
            (&["%m/%d/%y %I:%M %p"], Some("UTC"), "02/01/26 03:04 PM", "2026-02-01T15:04:00Z"),
            (&["%d %b %Y"], Some("UTC"), "05 Mar 2026", "2026-03-05T00:00:00Z"),
            (&["%Y-%m-%dT%H:%M:%S%z"], None, "2026-03-05T01:00:00+0100", "2026-03-05T00:00:00Z"),
            (&["rfc3339", "%Y-%m-%d"], Some("UTC"), "2020-08-19T16:28:31.164Z", "2020-08-19T16:28:31.164Z"),
            (&["rfc3339", "%Y-%m-%d"], Some("UTC"), "2020-08-19", "2020-08-19T00:00:00Z"),
            // There twice: the first of them, in summer time.
            (&["%Y-%m-%d %H:%M"], berlin, "2025-10-26 02:30", "2025-10-26T00:30:00Z"),
            // A day that begins at one o'clock.
            (&["%Y-%m-%d"], Some("Africa/Cairo"), "2024-04-26", "2024-04-25T22:00:00Z"),
        ] {
            let found = dates(forms, zone).unwrap().instant(text);
            assert_eq!(found.as_deref(), Ok(expected), "{text} by {forms:?}");
        }
        assert_eq!(Dates::default().instant("2026-01-01").as_deref(), Ok("2026-01-01"), "not ours to judge");
    }

    #[test]
    fn what_is_no_date_or_two_is_an_error() {
        let wrong = |forms, zone, text| dates(forms, zone).unwrap().instant(text).unwrap_err();
        assert!(wrong(&["%Y-%m-%d"], Some("UTC"), "31.12.2026").contains("no date of the form %Y-%m-%d"));
        assert!(wrong(&["%Y-%m-%d"], Some("UTC"), "2026-02-30").contains("no date"));
        assert!(wrong(&["%Y-%m-%d"], Some("UTC"), "2026-02-03 10:00").contains("no date"), "the rest is not dropped");
        assert!(wrong(&["%d/%m/%Y", "%m/%d/%Y"], Some("UTC"), "03/04/2026").contains("by the form %d/%m/%Y and"));
        assert!(wrong(&["%Y-%m-%d %H:%M"], Some("Europe/Berlin"), "2026-03-29 02:30").contains("is not there"));
    }

    #[test]
    fn a_form_that_cannot_be_read_is_told_with_the_mapping() {
        for (forms, zone, expected) in [
            (&["%Y-%m-%d"][..], None, "it names no time zone"),
            (&["%H:%M"], Some("UTC"), "it reads no year"),
            (&["%Y-%m-%J"], Some("UTC"), "dates: `%Y-%m-%J`: "),
            (&["yyyy-mm-dd"], Some("UTC"), "it reads no year"),
            (&["rfc3339"], Some("Middle/Earth"), "time_zone: `Middle/Earth` is no time zone"),
        ] {
            let wrong = dates(forms, zone).unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        }
    }
}
