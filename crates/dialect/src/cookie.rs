//! Cookies that an answer sets (RFC 6265).

use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;

use super::octets::{is_cookie_octet, is_token_byte, percent_encoded};
use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::template::{TemplateNode, TextPart, ValueLookup};
use super::times::rfc1123;
use tollhouse_core::clock::Timestamp;

/// A cookie as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCookie {
    name: String,
    value: String,
    #[serde(default = "RawCookie::root")]
    path: String,
    domain: Option<String>,
    /// Seconds, or a placeholder such as `$access.ttl`.
    max_age: Option<Value>,
    #[serde(default = "RawCookie::yes")]
    http_only: bool,
    #[serde(default = "RawCookie::yes")]
    secure: bool,
    #[serde(default)]
    same_site: SameSite,
}

/// When browsers send the cookie along with requests from other sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SameSite {
    #[default]
    Lax,
    Strict,
    None,
}

/// A cookie that an answer sets; one with an empty value is deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CookieTemplate {
    name: String,
    value: Vec<TextPart>,
    /// The attributes behind the value that are the same in every answer: path, domain, flags.
    attributes: String,
    max_age: Option<TemplateNode>,
}

impl RawCookie {
    fn root() -> String {
        "/".to_owned()
    }

    fn yes() -> bool {
        true
    }

    /// Checks the cookie; `None` if it is wrong, and then `problems` says what is.
    pub(crate) fn check(
        self,
        scope: PlaceholderScope,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Option<CookieTemplate> {
        let before = problems.len();
        if self.name.is_empty() || !self.name.bytes().all(is_token_byte) {
            problems.add(format!("{at}.name"), &self.name, "is no name of a cookie");
        }
        let is_attribute =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
        if !self.path.starts_with('/') || !is_attribute(&self.path) {
            problems.add(format!("{at}.path"), &self.path, "must be a path, for example \"/\"");
        }
        if let Some(domain) = &self.domain
            && (domain.is_empty() || !is_attribute(domain))
        {
            problems.add(format!("{at}.domain"), domain, "must be the name of a domain");
        }
        let is_prefixed = |prefix| self.name.starts_with(prefix);
        let is_host = is_prefixed("__Host-");
        if (is_host || is_prefixed("__Secure-")) && !self.secure
            || is_host && (self.domain.is_some() || self.path != "/")
        {
            let message = "no browser takes it: `__Secure-` demands `secure`, `__Host-` also the \
                           path \"/\" and no domain";
            problems.add(format!("{at}.name"), &self.name, message);
        }
        if self.same_site == SameSite::None && !self.secure {
            let message = "no browser takes \"none\" without `secure`";
            problems.add(format!("{at}.same_site"), "none", message);
        }
        let value = TextPart::compile(&self.value, scope, &format!("{at}.value"), problems);
        let max_age = self.max_age.map(|age| {
            let at = format!("{at}.max_age");
            if age.as_u64().is_none() && !age.as_str().is_some_and(|text| text.starts_with('$')) {
                problems.add(&at, &age, "must be a number of seconds, or a placeholder");
            }
            TemplateNode::compile(age, scope, &at, problems)
        });
        let mut attributes = format!("; Path={}", self.path);
        if let Some(domain) = &self.domain {
            attributes.push_str(&format!("; Domain={domain}"));
        }
        for (is_set, attribute) in [(self.secure, "; Secure"), (self.http_only, "; HttpOnly")] {
            if is_set {
                attributes.push_str(attribute);
            }
        }
        attributes.push_str(match self.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        (problems.len() == before).then_some(CookieTemplate {
            name: self.name,
            value,
            attributes,
            max_age,
        })
    }
}

impl CookieTemplate {
    pub(crate) fn fold(self, look: ValueLookup<'_>) -> Self {
        let value = TextPart::fold(self.value, look, str::to_owned);
        let max_age = self.max_age.map(|age| age.fold(look));
        Self { value, max_age, ..self }
    }

    /// Renders the field `Set-Cookie`. `Expires` is written wherever there is `Max-Age`: some
    /// clients know only that.
    pub(crate) fn render(&self, look: ValueLookup<'_>, now: Timestamp) -> HeaderValue {
        let value: String = self.value.iter().map(|part| part.render(look)).collect();
        let age = match (&self.max_age, value.is_empty()) {
            // A cookie is deleted by one that has ended.
            (_, true) => Some(0),
            (Some(age), false) => {
                let age = age.render(look, false);
                age.and_then(|age| age.as_u64().or_else(|| age.as_str()?.parse().ok()))
            }
            (None, false) => None,
        };
        let mut field = format!(
            "{}={}{}",
            self.name,
            percent_encoded(&value, is_cookie_octet),
            self.attributes
        );
        if let Some(age) = age {
            let ends = match age {
                0 => Timestamp::default(),
                age => now.plus(std::time::Duration::from_secs(age)),
            };
            field.push_str(&format!("; Max-Age={age}; Expires={}", rfc1123(ends)));
        }
        let mut field = HeaderValue::from_str(&field).unwrap_or(HeaderValue::from_static(""));
        field.set_sensitive(true);
        field
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn value(&self) -> &[TextPart] {
        &self.value
    }

    pub(crate) fn max_age(&self) -> Option<&TemplateNode> {
        self.max_age.as_ref()
    }

    pub(crate) fn places<'t>(&'t self, found: &mut Vec<&'t Placeholder>) {
        TextPart::places(&self.value, found);
        if let Some(age) = &self.max_age {
            age.places(found);
        }
    }
}
