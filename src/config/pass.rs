//! `pass` of a route: credentials that the route's upstream verifies itself.
//!
//! Some legacy clients keep a credential that the gateway cannot verify, such as a signature, or a
//! password that only the upstream knows. Their requests are forwarded unverified, beside those
//! with a credential of the gateway. A credential that the gateway could verify cannot be passed:
//! that would be a way around the check.

use super::headers::check_credential_name;
use super::item::SpannedValue;
use super::reader::TableReader;
use super::warnings::WarningName;
use crate::settings::{CredentialKind, PassRule};

impl PassRule {
    pub(super) fn read_all(table: &mut TableReader<'_>, auth: &[CredentialKind]) -> Vec<Self> {
        let Some(item) = table.get("pass") else { return Vec::new() };
        let mut rules: Vec<Self> = Vec::new();
        for one in item.list().unwrap_or_default() {
            match one.table().and_then(|table| Self::read(table, auth)) {
                Some(rule) if rules.contains(&rule) => one.issue("stands here twice"),
                Some(rule) => rules.push(rule),
                None => {}
            }
        }
        // Requests that nobody verifies are easy to overlook in a long configuration, so every use
        // is warned of. The warning names the route, and can be accepted there for good.
        if !rules.is_empty() {
            item.warn(
                WarningName::UnverifiedRequests,
                "lets requests through that nobody has verified: the upstream has to do it",
            );
        }
        rules
    }

    /// Reads one rule; `None` after a problem was reported.
    fn read(mut table: TableReader<'_>, auth: &[CredentialKind]) -> Option<Self> {
        match table.one_of(["header", "scheme"]).into() {
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
}

fn read_header(item: &SpannedValue<'_>) -> Option<PassRule> {
    let name = item.string()?;
    // `Authorization` carries credentials of all schemes. Passing the whole field would include
    // Bearer tokens, which the gateway verifies. The rule would then let requests with an invalid
    // token through, which is a way around authentication.
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

/// Reads a scheme, which is a token (RFC 9110, section 11.1). A scheme that `auth` contains is
/// verified by the gateway and cannot be passed. Otherwise a wrong password would be forwarded as
/// if the upstream had asked for it.
fn read_scheme(item: &SpannedValue<'_>, auth: &[CredentialKind]) -> Option<PassRule> {
    let name = item.string()?;
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
