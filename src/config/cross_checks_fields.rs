//! Rules about header fields that two parts of the configuration claim.
//!
//! A field can carry one meaning only. If a client may send a field that the gateway sets, or two
//! credentials share a field, an upstream may trust the wrong one. Each rule reports the setting
//! that should change. `crossing` calls this file.

use http::header::{AUTHORIZATION, HeaderName};

use super::ConfigDraft;
use super::document::Document;
use crate::settings::{CredentialKind, IdentityForm, PassRule, RouteSettings, UpstreamCredential};

/// Runs all checks of this file.
pub(super) fn check(reading: &Document<'_>, draft: &ConfigDraft) {
    check_passed(reading, draft);
    check_allowed_headers(reading, draft);
    check_upstream_credentials(reading, draft);
}

/// Reports `pass` for the field of the gateway's own API keys, on a route that accepts them. A
/// wrong key in that field would be passed on as if it were the upstream's own credential,
/// unverified.
fn check_passed(reading: &Document<'_>, draft: &ConfigDraft) {
    let header = &draft.config.api_keys.common.header;
    for (route, at) in draft.config.routes.iter().zip(&draft.routes) {
        if route.auth.contains(&CredentialKind::ApiKey)
            && route.pass.contains(&PassRule::Header(header.clone()))
        {
            let remedy = "is the field of the gateway's own keys, which auth takes: name another \
                          in [api_keys] header";
            at.at("pass").issue(reading, format!("{:?}", header.as_str()), remedy.to_owned());
        }
    }
}

/// Reports `allow_headers` for a field that some route sets. The upstream trusts such a field
/// because only the gateway sends it; a client could otherwise set it on another route to the same
/// server.
fn check_allowed_headers(reading: &Document<'_>, draft: &ConfigDraft) {
    let routes = || draft.config.routes.iter().zip(&draft.routes);
    for (route, at) in routes() {
        let sets = |other: &RouteSettings, name: &HeaderName| {
            other.request_headers.set.iter().any(|(set, _)| set == name)
                || (other.forward_certificate && name == "client-cert")
                || matches!(&other.identity, IdentityForm::Jwt(field) if field == name)
        };
        let set_by = |name| routes().find(|(other, _)| sets(other, name));
        for name in &route.allow_headers {
            // A proxy tells certificates by this field. An upstream that knew it would believe clients.
            let listeners = draft.config.listeners.iter();
            let is_told = listeners.flat_map(|one| &one.forwarded_certificate);
            if is_told.into_iter().any(|told| told.field == *name) {
                let remedy = "is the field of a forwarded_certificate: no client may send it";
                let value = format!("{:?}", name.as_str());
                at.at("allow_headers").issue(reading, value, remedy.to_owned());
            }
            let Some((_, other_at)) = set_by(name) else { continue };
            let remedy =
                format!("is set by {}{}: no client may send it", other_at.at, other_at.named());
            at.at("allow_headers").issue(reading, format!("{:?}", name.as_str()), remedy);
        }
    }
}

/// Reports two credentials in one field: the upstream's own, the client's, and the identity as a
/// token. Only one of them could be sent. The operator must say which one, because the upstream
/// would otherwise see the wrong caller.
fn check_upstream_credentials(reading: &Document<'_>, draft: &ConfigDraft) {
    for (route, at) in draft.config.routes.iter().zip(&draft.routes) {
        let mut upstreams = draft.config.upstreams.iter();
        let upstream = upstreams.find(|upstream| Some(upstream.name.as_str()) == route.upstream());
        let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
        let own = credential.map(UpstreamCredential::names).unwrap_or_default();
        if route.forward_credential && credential.is_some() {
            let remedy = format!(
                "upstream \"{}\" has a credential of its own, which is sent instead",
                route.upstream().unwrap_or_default()
            );
            at.at("forward_credential").issue(reading, "true".to_owned(), remedy);
        }
        // Only the token form of the identity has a field of the operator's choice.
        let IdentityForm::Jwt(name) = &route.identity else { continue };
        let taken = if own.contains(name) {
            Some("the upstream's credential")
        } else if route.forward_credential && *name == AUTHORIZATION {
            Some("the client's own credential (forward_credential)")
        } else {
            route
                .request_headers
                .set
                .iter()
                .any(|(set, _)| set == name)
                .then_some("request_headers")
        };
        if let Some(taken) = taken {
            let remedy = format!(
                "is also the field of {taken}: name another in identity_header, such as \"X-Auth-Token\""
            );
            at.at("identity_header").issue(reading, format!("{:?}", name.as_str()), remedy);
        }
    }
}
