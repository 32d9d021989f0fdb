//! The head of an answer, read backwards: header fields, cookies, and where a redirect leads.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, LOCATION, SET_COOKIE};

use super::match_template::ExtractedValues;
use crate::cookie::CookieTemplate;
use crate::placeholders::{Placeholder, PlaceholderName};
use crate::reply_fields::ReplyFields;
use crate::template::{TemplateNode, TextPart};
use crate::times::{TimeForm, TimeName};
use tollhouse_core::clock::Timestamp;

/// A cookie that ends before this was meant to be deleted: clocks of servers are not decades slow.
const DELETED_BEFORE: Timestamp = Timestamp::from_secs(366 * 86_400);

/// A cookie that an answer sets.
#[derive(Debug, Default, PartialEq)]
struct ReceivedCookie<'a> {
    name: &'a str,
    value: &'a str,
    max_age: Option<Duration>,
    expires: Option<Timestamp>,
}

impl ExtractedValues {
    /// Adds the values in header fields and cookies. A field or cookie that is missing, stands there
    /// several times with different values, or is of another form has none: it is for the caller to
    /// miss a value.
    pub(super) fn head(&mut self, fields: &ReplyFields, headers: &HeaderMap) {
        for (name, parts) in &fields.headers {
            let found =
                single_value(headers, name).and_then(|text| field_values(name, parts, text));
            self.0.extend(found.unwrap_or_default().0);
        }
        for template in &fields.cookies {
            if let Some(cookie) = single_cookie(headers, template.name()) {
                self.cookie(template, &cookie);
            }
        }
    }

    fn cookie(&mut self, template: &CookieTemplate, cookie: &ReceivedCookie<'_>) {
        let Some(found) = Self::of_text(template.value(), cookie.value) else { return };
        self.0.extend(found.0);
        let Some(TemplateNode::Place(place, _)) = template.max_age() else { return };
        // `Max-Age` counts before `Expires` (RFC 6265, section 5.3).
        match (cookie.max_age, cookie.expires) {
            (Some(age), _) => self.0.push((place.clone(), age.as_secs().into())),
            (None, Some(expires)) if *place == Placeholder::Named(PlaceholderName::AccessTtl) => {
                let end = Placeholder::Time(TimeName::AccessExpires, TimeForm::Seconds);
                self.0.push((end, expires.secs().into()));
            }
            (None, _) => {}
        }
    }
}

/// True if a redirect leads where the template's does. An answer without the field, or with two, is
/// another one, and so is every answer to a template that does not say where it leads: a system that
/// redirects after a right password does so after a wrong one, too.
pub(super) fn leads_alike(fields: &ReplyFields, headers: &HeaderMap) -> bool {
    let mut wanted = fields.headers.iter().filter(|(name, _)| *name == LOCATION);
    wanted.next().is_some_and(|(name, parts)| {
        single_value(headers, name).is_some_and(|text| field_values(name, parts, text).is_some())
    })
}

/// The values in the text of a field.
fn field_values(name: &HeaderName, parts: &[TextPart], text: &str) -> Option<ExtractedValues> {
    let found = ExtractedValues::of_text(parts, text);
    // A server may write the whole address where another one writes the path (RFC 9110, section
    // 10.2.2).
    found.or_else(|| ExtractedValues::of_text(parts, path_of(text)?).filter(|_| *name == LOCATION))
}

/// The path and query of an absolute address.
fn path_of(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"))?;
    rest.find('/').and_then(|at| rest.get(at..))
}

fn single_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.all(|other| other.as_bytes() == first.as_bytes()).then_some(first.trim())
}

/// The cookie of this name; `None` if it is not set, is deleted, or is set to different values. An
/// answer may delete a cookie of another path and set the new one.
fn single_cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<ReceivedCookie<'h>> {
    let fields = headers.get_all(SET_COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut cookies = fields
        .filter_map(ReceivedCookie::parse)
        .filter(|cookie| cookie.name == name && !cookie.is_deleted());
    let first = cookies.next()?;
    cookies.all(|other| other.value == first.value).then_some(first)
}

impl<'a> ReceivedCookie<'a> {
    /// Reads the field `Set-Cookie` (RFC 6265, section 5.2). The value stays as it is: it is sent
    /// back unchanged.
    fn parse(field: &'a str) -> Option<Self> {
        let mut parts = field.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let mut cookie = Self { name: name.trim(), value: value.trim(), ..Self::default() };
        for attribute in parts {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("max-age") {
                // A negative number is in the past as well.
                let age = value.parse::<i64>().ok().map(|age| u64::try_from(age).unwrap_or(0));
                cookie.max_age = age.map(Duration::from_secs);
            } else if name.eq_ignore_ascii_case("expires") {
                // An older form has dashes in the date.
                cookie.expires = TimeForm::Rfc1123.parse_text(&value.replace('-', " "));
            }
        }
        (!cookie.name.is_empty()).then_some(cookie)
    }

    fn is_deleted(&self) -> bool {
        let is_past = self.expires.is_some_and(|expires| expires < DELETED_BEFORE);
        self.value.is_empty() || self.max_age.is_some_and(|age| age.is_zero()) || is_past
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn one_cookie_is_taken_and_what_could_be_two_is_not() {
        let gone = "SID=; Max-Age=0";
        let old = "SID=x; Expires=Thu, 01-Jan-1970 00:00:10 GMT; Path=/old";
        for (fields, value) in [
            (vec!["SID=a; Path=/; HttpOnly"], Some("a")),
            (vec![gone, "SID=a"], Some("a")),
            (vec!["SID=a", old], Some("a")),
            (vec!["SID=a", "SID=a; Path=/x"], Some("a")),
            (vec!["SID = a=b "], Some("a=b")),
            (vec!["SID=a", "SID=b"], None),
            (vec!["SID=a; max-age=-1"], None),
            (vec![gone], None),
            (vec!["sid=a", "XSID=b", "SID", "=SID"], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for field in &fields {
                headers.append(SET_COOKIE, HeaderValue::from_static(field));
            }
            let found = single_cookie(&headers, "SID").map(|cookie| cookie.value);
            assert_eq!(found, value, "{fields:?}");
        }
    }

    #[test]
    fn an_address_is_compared_by_its_path() {
        for (text, path) in [
            ("https://a.example/x?y", Some("/x?y")),
            ("http://a.example:80/", Some("/")),
            ("https://a.example", None),
            ("//a.example/x", None),
            ("/x", None),
        ] {
            assert_eq!(path_of(text), path, "{text}");
        }
    }
}
