//! Times in answers and claims: which time a placeholder stands for, and how it is written.
//!
//! `$access.expires` is in whole seconds since 1970, `$access.expires_ms` in milliseconds,
//! `$access.expires_rfc3339` and `$access.expires_rfc1123` are texts. Any other form is written as
//! `{ time = "$access.expires", format = "%Y-%m-%d %H:%M:%S" }`, always in UTC.

use std::sync::Arc;

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::format_description::{BorrowedFormatItem, OwnedFormatItem, parse_strftime_owned};
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::value_group::ValueGroup;
use tollhouse_core::clock::Timestamp;

/// A time that answers and claims can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeName {
    Now,
    SessionCreated,
    SessionExpires,
    AccessIssued,
    AccessExpires,
    RefreshIssued,
    RefreshExpires,
}

/// The form in which a time is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TimeForm {
    Seconds,
    Millis,
    /// RFC 3339, in UTC with `Z`, in whole seconds.
    Rfc3339,
    /// The form of HTTP and mail: `Mon, 30 Nov 2026 14:47:40 GMT` (RFC 9110, section 5.6.7).
    Rfc1123,
    /// A form of the operator's, as `strftime` has it.
    Format(Arc<TimeFormat>),
}

/// A form of the operator's.
#[derive(Debug, PartialEq)]
pub(crate) struct TimeFormat {
    items: OwnedFormatItem,
}

const NAMES: &[(&str, TimeName, ValueGroup)] = &[
    ("now", TimeName::Now, ValueGroup::Clock),
    ("session.created", TimeName::SessionCreated, ValueGroup::Session),
    ("session.expires", TimeName::SessionExpires, ValueGroup::Session),
    ("access.issued", TimeName::AccessIssued, ValueGroup::Access),
    ("access.expires", TimeName::AccessExpires, ValueGroup::Access),
    ("refresh.issued", TimeName::RefreshIssued, ValueGroup::Refresh),
    ("refresh.expires", TimeName::RefreshExpires, ValueGroup::Refresh),
];

const RFC1123: &[BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

const SUFFIXES: &[(&str, TimeForm)] = &[
    ("", TimeForm::Seconds),
    ("_ms", TimeForm::Millis),
    ("_rfc3339", TimeForm::Rfc3339),
    ("_rfc1123", TimeForm::Rfc1123),
];

/// All names of times, each with its group.
pub(crate) fn all() -> impl Iterator<Item = (String, ValueGroup)> {
    NAMES.iter().flat_map(|(name, _, group)| {
        SUFFIXES.iter().map(move |(suffix, _)| (format!("{name}{suffix}"), *group))
    })
}

/// The time that `name` stands for, its form and its group.
pub(crate) fn find(name: &str) -> Option<(TimeName, TimeForm, ValueGroup)> {
    NAMES.iter().find_map(|(known, time, group)| {
        let suffix = name.strip_prefix(known)?;
        let (_, form) = SUFFIXES.iter().find(|(known, _)| *known == suffix)?;
        Some((*time, form.clone(), *group))
    })
}

impl TimeForm {
    /// Reads a form of the operator's.
    ///
    /// # Errors
    /// A message that says what is wrong with the form.
    pub(crate) fn parse(format: &str) -> Result<Self, String> {
        let items = parse_strftime_owned(format)
            .map_err(|error| format!("is no form of a time: {error}; for example \"%Y-%m-%d\""))?;
        Ok(Self::Format(Arc::new(TimeFormat { items })))
    }

    /// The time that a text in this form stands for.
    pub(crate) fn parse_text(&self, text: &str) -> Option<Timestamp> {
        let date = match self {
            Self::Rfc3339 => OffsetDateTime::parse(text, &Rfc3339).ok()?,
            Self::Rfc1123 => PrimitiveDateTime::parse(text, RFC1123).ok()?.assume_utc(),
            Self::Format(format) => {
                PrimitiveDateTime::parse(text, &format.items).ok()?.assume_utc()
            }
            Self::Seconds | Self::Millis => return None,
        };
        u64::try_from(date.unix_timestamp()).ok().map(Timestamp::from_secs)
    }

    /// The time in this form.
    pub(crate) fn write(&self, at: Timestamp) -> Value {
        match self {
            Self::Seconds => at.secs().into(),
            Self::Millis => at.millis().into(),
            Self::Rfc3339 => {
                let text = at.whole_secs().to_string();
                text.replace(".000Z", "Z").into()
            }
            Self::Rfc1123 => rfc1123(at).into(),
            Self::Format(format) => date_of(at)
                .and_then(|date| date.format(&format.items).ok())
                .unwrap_or_default()
                .into(),
        }
    }
}

/// The time in the form of HTTP (RFC 9110, section 5.6.7).
pub(crate) fn rfc1123(at: Timestamp) -> String {
    date_of(at).and_then(|date| date.format(RFC1123).ok()).unwrap_or_default()
}

fn date_of(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(at.secs()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_every_form() {
        let at = Timestamp::from_millis(1_677_273_555_137);
        for (name, written) in [
            ("now", Value::from(1_677_273_555)),
            ("now_ms", Value::from(1_677_273_555_137_u64)),
            ("now_rfc3339", Value::from("2023-02-24T21:19:15Z")),
            ("now_rfc1123", Value::from("Fri, 24 Feb 2023 21:19:15 GMT")),
        ] {
            let (_, form, _) = find(name).expect(name);
            assert_eq!(form.write(at), written, "{name}");
        }
        let form = TimeForm::parse("%Y-%m-%d %H:%M:%S").expect("a form");
        assert_eq!(form.write(at), Value::from("2023-02-24 21:19:15"));
        assert!(TimeForm::parse("%Q").is_err());
        assert!(find("now_rfc").is_none());
    }
}
