//! `pass` of a route: credentials that its upstream verifies by itself.
//!
//! While legacy clients keep what the gateway cannot verify (a signature, a password of the
//! upstream's own), their requests go on beside those with credentials of ours, unproved.

use http::HeaderName;
use toml::Table as Toml;

use super::auth::CredentialKind;
use super::headers::check_credential_name;
use super::item::Item;
use super::out::Out;
use super::reader::Table;
use super::warnings::WarningName;

/// One kind of credential that is passed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassRule {
    /// Whatever has this field.
    Header(HeaderName),
    /// `Authorization` of this scheme, as it is written.
    Scheme(String),
}

impl PassRule {
    pub(super) fn read_all(table: &mut Table<'_>, auth: &[CredentialKind]) -> Vec<Self> {
        let Some(item) = table.get("pass") else { return Vec::new() };
        let mut rules: Vec<Self> = Vec::new();
        for one in item.list().unwrap_or_default() {
            match one.table().and_then(|table| Self::read(table, auth)) {
                Some(rule) if rules.contains(&rule) => one.issue("stands here twice"),
                Some(rule) => rules.push(rule),
                None => {}
            }
        }
        if !rules.is_empty() {
            item.warn(
                WarningName::UnverifiedRequests,
                "lets requests through that nobody has verified: the upstream has to do it",
            );
        }
        rules
    }

    fn read(mut table: Table<'_>, auth: &[CredentialKind]) -> Option<Self> {
        match (table.get("header"), table.get("scheme")) {
            (Some(item), None) => read_header(&item),
            (None, Some(item)) => read_scheme(&item, auth),
            (Some(item), Some(_)) => {
                item.issue("and scheme are two credentials: write each by itself");
                None
            }
            (None, None) => {
                table.issue("header", "or scheme is missing, for example { scheme = \"Basic\" }");
                None
            }
        }
    }

    pub(super) fn print(&self) -> Toml {
        match self {
            Self::Header(name) => Out::default().text("header", name.as_str()).table(),
            Self::Scheme(name) => Out::default().text("scheme", name).table(),
        }
    }
}

fn read_header(item: &Item<'_>) -> Option<PassRule> {
    let name = item.text()?;
    if name.eq_ignore_ascii_case("authorization") {
        item.issue("is told apart by its scheme: write { scheme = \"Basic\" }");
        return None;
    }
    match check_credential_name(name) {
        Ok(name) => Some(PassRule::Header(name)),
        Err(remedy) => {
            item.issue(remedy);
            None
        }
    }
}

/// A scheme is a token (RFC 9110 §11.1). One that `auth` has is verified here.
fn read_scheme(item: &Item<'_>, auth: &[CredentialKind]) -> Option<PassRule> {
    let name = item.text()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        item.issue("must be the name of a scheme, for example \"Basic\"");
        return None;
    }
    let kinds = [("basic", CredentialKind::Basic), ("bearer", CredentialKind::Bearer)];
    let is_ours = |(scheme, kind): &(&str, CredentialKind)| {
        name.eq_ignore_ascii_case(scheme) && auth.contains(kind)
    };
    if let Some((scheme, _)) = kinds.iter().find(|kind| is_ours(kind)) {
        item.issue(format!("is verified by the gateway: leave \"{scheme}\" out of auth"));
        return None;
    }
    Some(PassRule::Scheme(name.to_owned()))
}
