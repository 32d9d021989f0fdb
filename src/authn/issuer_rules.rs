//! The rules of an issuer that hold however its tokens are verified: by its keys, by introspection
//! or in a legacy system.
//!
//! Audience and kind of the token are checked here, and its claims become an identity.

use std::sync::Arc;

use super::claims;
use super::jws::RefusalCause;
use crate::config::{AudienceRule, IssuerSettings};
use crate::database::AddressError;
use crate::identity::{Claims, Identity, Subject};
use crate::tls_roots::TrustError;
use crate::token::BadKey;

/// The reasons for which an issuer's tokens could never be verified.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error(transparent)]
    Key(#[from] BadKey),

    #[error(transparent)]
    Trust(#[from] TrustError),

    #[error("the address of its database {0}")]
    Address(#[from] AddressError),
}

/// Refuses ID tokens and event tokens unless the operator allows them. An ID token is meant for the
/// client application and proves a login, not permission to call an API.
pub(super) fn check_not_id(rules: &IssuerSettings, claims: &Claims) -> Result<(), RefusalCause> {
    let names = ["nonce", "at_hash", "events"];
    let is_id = claims.get("token_use").is_some_and(|usage| usage == "id");
    if !rules.allow_id_tokens && (is_id || names.iter().any(|name| claims.contains_key(*name))) {
        return Err("an ID token or event token is no access token");
    }
    Ok(())
}

/// Checks that the token is meant for one of the audiences in the issuer's rules.
///
/// # Errors
/// A token for another audience, or with an `aud` of the wrong type. A token without `aud` is
/// refused unless the issuer accepts any audience.
pub(super) fn check_audience(rules: &IssuerSettings, claims: &Claims) -> Result<(), RefusalCause> {
    let audience = claims::audience(claims)?;
    match &rules.audience {
        AudienceRule::Any => Ok(()),
        AudienceRule::OneOf(accepted) if claims::is_for(&audience, accepted) => Ok(()),
        AudienceRule::OneOf(_) => Err("the token is meant for others"),
    }
}

/// The identity in the claims, with its own `claims` still empty; the owner of the claims moves
/// them in.
pub(super) fn identity(
    rules: &IssuerSettings,
    name: &Arc<str>,
    subject: &str,
    claims: &Claims,
) -> Identity {
    let username = claims::at(claims, &rules.username_claim);
    let username = username.and_then(|name| name.as_str()).unwrap_or(subject);
    Identity {
        subject: Subject::foreign(&rules.issuer, subject),
        username: username.into(),
        source: "".into(),
        issuer: name.clone(),
        login: "".into(),
        session: None,
        roles: claims::names(claims::at(claims, &rules.roles_claim)),
        scopes: claims::names(claims::at(claims, &rules.scopes_claim)),
        claims: Claims::default(),
    }
}
