//! Tokens of other issuers: where their keys are, and which rules their claims must meet.
//!
//! A token belongs to the issuer whose name equals its `iss` byte for byte, and only that issuer's
//! keys are tried. A token without `iss` is tried only with issuers in takeover that do not require
//! the claim. ID tokens and event tokens are refused, because they do not prove access. `Verifier`
//! calls this for tokens that are not ours.

use std::sync::Arc;

use super::claims::{self, TokenDates};
use super::issuer_rules::{IssuerError, verify_claims};
use super::jwks_cache::{JwksCache, KeyError};
use super::jws::{CompactJws, RefusalCause};
use super::opaque::OpaqueIssuer;
use super::verified::{TokenError, VerifiedCredential};
use crate::clock::Timestamp;
use crate::identity::Claims;
use crate::settings::{IssuerKeys, IssuerSettings};
use crate::token::{BadKey, KeyRemark, KeySet};

/// A configured issuer, ready to verify tokens.
#[derive(Clone, Debug)]
pub(super) struct ExternalIssuer {
    name: Arc<str>,
    rules: IssuerSettings,
    keys: KeySource,
}

/// The place of an issuer's keys.
#[derive(Clone, Debug)]
enum KeySource {
    /// In the configuration. These keys never change during a generation.
    Static(KeySet),
    /// Published by the issuer, fetched in the background.
    Remote(Arc<JwksCache>),
    /// The issuer has no keys for us; it is asked about every token.
    Opaque(Arc<OpaqueIssuer>),
}

impl ExternalIssuer {
    /// Prepares an issuer. If `last` (the previous generation) has the same issuer, its fetched
    /// keys and verdicts are kept. The remarks name keys that are not used, with the reason.
    ///
    /// # Errors
    /// Keys of which none can be used, certificate authorities that cannot be loaded, and a
    /// database address that cannot be parsed.
    pub(super) fn new(
        issuer: &IssuerSettings,
        last: &[Self],
    ) -> Result<(Self, Vec<KeyRemark>), IssuerError> {
        let (keys, remarks) = match &issuer.keys {
            keys if keys.is_opaque() => {
                let mut known = last.iter().filter_map(Self::opaque);
                let opaque = match known.find(|opaque| opaque.serves(issuer)) {
                    Some(opaque) => opaque.clone(),
                    None => Arc::new(OpaqueIssuer::new(issuer)?),
                };
                (KeySource::Opaque(opaque), Vec::new())
            }
            keys if !keys.is_remote() => {
                let (keys, remarks) = static_keys(issuer)?;
                (KeySource::Static(keys), remarks)
            }
            _ => {
                let mut known = last.iter().filter_map(Self::remote);
                let remote = match known.find(|remote| remote.serves(issuer)) {
                    Some(remote) => remote.clone(),
                    None => Arc::new(JwksCache::new(issuer)?),
                };
                (KeySource::Remote(remote), Vec::new())
            }
        };
        let name = issuer.name.as_str().into();
        Ok((Self { name, rules: issuer.clone(), keys }, remarks))
    }

    /// The name of the issuer in the configuration.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The remote key set, if the issuer publishes its keys.
    pub(super) fn remote(&self) -> Option<&Arc<JwksCache>> {
        match &self.keys {
            KeySource::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    /// The remote verification, if the issuer is asked about every token.
    pub(super) fn opaque(&self) -> Option<&Arc<OpaqueIssuer>> {
        match &self.keys {
            KeySource::Opaque(opaque) => Some(opaque),
            _ => None,
        }
    }

    /// The epoch of the key set. It changes whenever the keys change; `None` if no keys are known.
    /// A cached token carries the epoch of the keys that verified it. If the epochs differ, the
    /// token is verified again.
    pub(super) fn epoch(&self, now: Timestamp) -> Option<u64> {
        match &self.keys {
            KeySource::Static(keys) => Some(keys.epoch()),
            KeySource::Remote(remote) => remote.epoch(now),
            KeySource::Opaque(_) => None,
        }
    }

    /// True if the period in which the issuer is accepted (its takeover) has ended.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.rules.until.is_some_and(|until| until <= now)
    }

    /// True if a token with this `iss`, or without one, can belong to this issuer. A token without
    /// `iss` can belong to an issuer that does not require the claim, but never to a remotely
    /// verified one: such a token may name nobody and must not be shown to anybody.
    pub(super) fn may_issue(&self, issuer: Option<&str>) -> bool {
        match issuer {
            Some(issuer) => issuer == self.rules.issuer,
            None if self.opaque().is_some() => false,
            None => !self.rules.required.iter().any(|name| name == "iss"),
        }
    }

    /// Verifies everything about a token that does not change with time. Returns the epoch of the
    /// keys that verified it. The identity has no claims yet; the caller, who owns them, moves them
    /// in.
    pub(super) fn verify(
        &self,
        token: &CompactJws<'_>,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<(VerifiedCredential, u64), KeyError> {
        let epoch = self.verify_once(token, now)?;
        let verified = self.check_claims(token, claims).map_err(TokenError::invalid)?;
        if !self.subject_allowed(claims) {
            let cause = "the subject is not among the issuer's `subjects`";
            return Err(TokenError::invalid(cause).into());
        }
        Ok((verified, epoch))
    }

    /// True if the token is valid except that its subject is not among the issuer's `subjects`.
    /// Token exchange may tell this to the client. The signature is verified first, so that an
    /// invented token learns nothing.
    pub(super) fn is_valid_for_other_subject(
        &self,
        token: &CompactJws<'_>,
        claims: &Claims,
        now: Timestamp,
    ) -> bool {
        !self.subject_allowed(claims)
            && self.verify_once(token, now).is_ok()
            && self.check_claims(token, claims).is_ok()
    }

    /// True if the issuer's `subjects` setting includes the token's subject.
    fn subject_allowed(&self, claims: &Claims) -> bool {
        let subject = claims::required(claims, "sub");
        subject.is_ok_and(|subject| self.rules.takes_subject(subject))
    }

    /// Verifies the signature. Returns the epoch of the keys that verified it.
    ///
    /// # Errors
    /// An invalid signature or an ended takeover is a refusal. Missing or outdated remote keys
    /// become a request for newer keys.
    fn verify_once(&self, token: &CompactJws<'_>, now: Timestamp) -> Result<u64, KeyError> {
        match &self.keys {
            KeySource::Static(keys) => {
                token.verify(keys).map_err(TokenError::invalid)?;
                Ok(keys.epoch())
            }
            // The check of the takeover's end would refuse the token later anyway. Refusing it here
            // avoids a fetch of keys that would never be used.
            KeySource::Remote(_) if self.has_ended(now) => {
                Err(TokenError::invalid("the issuer is not accepted any more").into())
            }
            KeySource::Remote(remote) => remote.verify(token, now),
            KeySource::Opaque(_) => {
                Err(TokenError::invalid("only its issuer can verify it").into())
            }
        }
    }

    /// Checks the claims against the issuer's rules, for any subject.
    ///
    /// # Errors
    /// A wrong type, a missing required claim, another audience, a date of the wrong form, and a
    /// lifetime above the issuer's `max_lifetime`.
    fn check_claims(
        &self,
        token: &CompactJws<'_>,
        claims: &Claims,
    ) -> Result<VerifiedCredential, RefusalCause> {
        self.check_type(token)?;
        let missing = |name: &String| claims.get(name).is_none_or(serde_json::Value::is_null);
        if self.rules.required.iter().any(missing) {
            return Err("a required claim is missing");
        }
        let dates = TokenDates::parse(claims)?;
        let expires = dates.expires.ok_or("`exp` is missing")?;
        self.check_lifetime(dates.issued, expires)?;
        verify_claims(&self.rules, &self.name, token.signed(), claims, dates)
    }

    /// Checks the `typ` header (RFC 8725 §3.11). Without this check a token that was issued for
    /// another purpose could be presented as an access token.
    fn check_type(&self, token: &CompactJws<'_>) -> Result<(), RefusalCause> {
        match token.typ() {
            Some(typ) if !self.rules.types.contains(&typ) => Err("the token is of another type"),
            None if !self.rules.type_optional => Err("the token names no type"),
            _ => Ok(()),
        }
    }

    /// Checks the token's lifetime against `max_lifetime`, which requires `iat`.
    fn check_lifetime(
        &self,
        issued: Option<Timestamp>,
        expires: Timestamp,
    ) -> Result<(), RefusalCause> {
        let Some(longest) = self.rules.max_lifetime else { return Ok(()) };
        let issued = issued.ok_or("`iat` is missing, by which the lifetime is known")?;
        if expires.since(issued) > longest {
            return Err("the token's lifetime is longer than the issuer's `max_lifetime`");
        }
        Ok(())
    }
}

/// The keys that are in the configuration.
///
/// # Errors
/// A key that cannot be parsed, and a set in which no key can be used.
fn static_keys(issuer: &IssuerSettings) -> Result<(KeySet, Vec<KeyRemark>), BadKey> {
    // `config` permits short secrets for takeover issuers only and has already checked that. This
    // code can therefore treat `until`, which only takeover issuers have, as the permission.
    let weak = issuer.until.is_some();
    let algorithms = &issuer.algorithms;
    let (keys, remarks) = match &issuer.keys {
        IssuerKeys::Jwks(text) => KeySet::from_jwks(text, algorithms, weak)?,
        IssuerKeys::Pem(text) => KeySet::from_pem(text, algorithms)?,
        IssuerKeys::Secret(secret) => KeySet::from_secret(secret, algorithms, weak)?,
        // Other kinds of keys are remote and are not read here.
        _ => Default::default(),
    };
    if keys.keys().is_empty() {
        return Err(BadKey("none of its keys can be used"));
    }
    Ok((keys, remarks))
}
