//! `acme` of a `[[listener]]`: the authority that issues the listener's certificate.
//!
//! The reader refuses names that cannot be proved over TLS or HTTP (addresses, wildcards), and a
//! directory without TLS: whoever can change its answers could make the gateway serve a certificate
//! of theirs. That listeners with one directory agree on the account is checked in
//! `cross_checks_acme`. Nothing is asked here; `check --online` asks.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;

use super::item::SpannedValue;
use super::key_strength::check_url;
use super::path::is_host_name;
use crate::features;
use crate::settings::{AcmeSettings, ExternalAccount};

/// Let's Encrypt, the authority that most sites use.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The limit of Let's Encrypt, and more than one listener serves.
const MOST_DOMAINS: usize = 100;

impl AcmeSettings {
    /// Reads the table; `None` after a problem was reported.
    pub(super) fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let mut table = item.table()?;
        if let Some(left_out) = features::left_out("acme") {
            table.issue("", left_out.to_string());
        }
        let domains = table.required("domains", "the names, for example [\"api.example.org\"]");
        let domains = domains.as_ref().and_then(read_domains);
        let email = table.get("email");
        table.default_is("directory", DIRECTORY);
        let directory = match table.get("directory") {
            Some(item) => read_directory(&item),
            None => Some(Uri::from_static(DIRECTORY)),
        };
        Some(Self {
            email: email.as_ref().and_then(read_email),
            ca: table.get("ca").and_then(|item| item.read_certificates()).map(|(_, pem)| pem),
            eab: table.get("eab").and_then(|item| ExternalAccount::read(&item)),
            domains: domains?,
            directory: directory?,
        })
    }
}

/// Reads the names of the certificate, in lower case.
fn read_domains(item: &SpannedValue<'_>) -> Option<Vec<String>> {
    let list = item.filled_list("needs at least one name")?;
    if list.is_empty() {
        return None;
    }
    if list.len() > MOST_DOMAINS {
        item.issue(format!("has {} names: a certificate has at most {MOST_DOMAINS}", list.len()));
        return None;
    }
    let mut domains: Vec<String> = Vec::new();
    for element in &list {
        let Some(domain) = element.string().map(str::to_ascii_lowercase) else { continue };
        if let Some(fault) = fault(&domain) {
            element.issue(fault);
        } else if domains.contains(&domain) {
            element.issue("is here twice");
        } else {
            domains.push(domain);
        }
    }
    Some(domains)
}

/// The reason why a name cannot be proved by the challenges that the gateway answers.
fn fault(domain: &str) -> Option<&'static str> {
    if domain.starts_with("*.") {
        return Some(
            "is a wildcard, which only a challenge by DNS can prove: list the names one by one, or \
             have another program order it and name its files in tls.certificates",
        );
    }
    if domain.parse::<IpAddr>().is_ok() {
        return Some("is an address: an authority certifies names");
    }
    // Names with an underscore exist in DNS, and are never certified (RFC 5280, section 4.2.1.6).
    let is_name = is_host_name(domain) && !domain.contains('_');
    (!is_name).then_some("must be a host name, for example \"api.example.org\"")
}

fn read_email(item: &SpannedValue<'_>) -> Option<String> {
    let text = item.plain_name()?;
    // A `?` or `,` would add header fields or addresses to the `mailto` URL (RFC 8555, section 7.3).
    let is_address = text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && is_host_name(host) && !text.contains(['?', ',', ' ', '<', '>', '%'])
    });
    if !is_address {
        item.issue("must be an address, for example \"ops@example.org\"");
        return None;
    }
    Some(text)
}

fn read_directory(item: &SpannedValue<'_>) -> Option<Uri> {
    let checked = check_url(item.string()?, false);
    let remedy = |fault: String| match fault.as_str() {
        // There is no `allow_http` here, which the shared check offers.
        fault if fault.starts_with("must be https") => {
            item.issue("must be https: with `ca` for an authority of one's own");
        }
        _ => item.hidden_issue(fault),
    };
    checked.map_err(remedy).ok()
}

impl ExternalAccount {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let mut table = item.table()?;
        let kid = table.required("kid", "the id of the account at the authority");
        let key = table.required("key", "the account's HMAC key: { env = \"NAME\" }");
        let kid = kid.as_ref().and_then(SpannedValue::plain_name);
        let place = key.as_ref();
        let key = place.and_then(SpannedValue::secret);
        if let (Some(item), Some(key)) = (place, &key)
            && URL_SAFE_NO_PAD.decode(key.expose().trim_end_matches('=')).is_err()
        {
            item.hidden_issue("must be in base64url, as the authority has handed it out");
        }
        Some(Self { kid: kid?, key: key? })
    }
}
