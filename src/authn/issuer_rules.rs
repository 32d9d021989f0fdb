//! The rules of an issuer that hold however its tokens are verified: by its keys, by introspection
//! or in a legacy system.
//!
//! Audience and kind of the token are checked here, and its claims become an identity.

use std::sync::Arc;

use super::claims::{self, TokenDates};
use super::jws::RefusalCause;
use super::verified::{IssuerTerms, TokenBinding, VerifiedCredential};
use crate::database::AddressError;
use crate::identity::{Claims, Identity, Subject};
use crate::secret::Digest;
use crate::settings::{AudienceRule, IssuerSettings};
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

/// Checks what the claims of every token of an issuer must fulfil, whether the token was verified
/// by its signature or by asking its issuer, and returns the verified credential. `signed` is the
/// signed part of the token: ECDSA signatures can be altered without a key and stay valid, and the
/// altered token must have the same name in the revocations. The identity's own `claims` are still
/// empty; the owner of the claims moves them in.
///
/// # Errors
/// An ID token or event token, another audience, a missing `sub`, and a `cnf` that the gateway
/// cannot check.
pub(super) fn verify_claims(
    rules: &IssuerSettings,
    name: &Arc<str>,
    signed: &str,
    claims: &Claims,
    dates: TokenDates,
) -> Result<VerifiedCredential, RefusalCause> {
    check_not_id(rules, claims)?;
    check_audience(rules, claims)?;
    let subject = claims::required(claims, "sub")?;
    let certificate = claims::certificate(claims)?;
    Ok(VerifiedCredential::token(
        identity(rules, name, subject, claims),
        Digest::of(signed.as_bytes()),
        claims.get("jti").and_then(|jti| jti.as_str()).map(Arc::from),
        dates,
        certificate.map_or(TokenBinding::Nothing, TokenBinding::Certificate),
        IssuerTerms::external(rules),
    ))
}

/// Refuses ID tokens and event tokens unless the operator allows them. An ID token is meant for the
/// client application and proves a login, not permission to call an API.
fn check_not_id(rules: &IssuerSettings, claims: &Claims) -> Result<(), RefusalCause> {
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
fn check_audience(rules: &IssuerSettings, claims: &Claims) -> Result<(), RefusalCause> {
    let audience = claims::audience(claims)?;
    match &rules.audience {
        AudienceRule::Any => Ok(()),
        AudienceRule::OneOf(accepted) if claims::is_for(&audience, accepted) => Ok(()),
        AudienceRule::OneOf(_) => Err("the token is meant for others"),
    }
}

/// The identity in the claims, with its own `claims` still empty; the owner of the claims moves
/// them in.
fn identity(rules: &IssuerSettings, name: &Arc<str>, subject: &str, claims: &Claims) -> Identity {
    let username = claims::at(claims, &rules.username_claim);
    let username = username.and_then(|name| name.as_str()).unwrap_or(subject);
    Identity {
        roles: claims::names(claims::at(claims, &rules.roles_claim)),
        scopes: claims::names(claims::at(claims, &rules.scopes_claim)),
        ..Identity::new(name.clone(), Subject::foreign(&rules.issuer, subject), username)
    }
}
