//! Tokens of other issuers: their keys, and by what rules each is taken.
//!
//! A token belongs to the issuer whose name its `iss` is, byte for byte, and only that issuer's
//! keys are tried. Only a takeover issuer that does not require `iss` is tried for a token that
//! has none. ID tokens and event tokens prove something else than access and are refused.

use std::sync::Arc;

use super::asked::Asked;
use super::claims;
use super::inquiry::Unproved;
use super::jws::{Cause, Compact};
use super::remote::Remote;
use super::verified::{Refusal, Verified};
use crate::clock::Timestamp;
use crate::config::{Audience, Issuer, IssuerKeys};
use crate::database::AddressError;
use crate::identity::{Claims, Identity, Subject};
use crate::secret::Digest;
use crate::token::{BadKey, KeyRemark, KeySet};
use crate::trust::TrustError;

/// Another issuer, ready to verify.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    name: Arc<str>,
    rules: Issuer,
    keys: Keys,
}

/// Where the keys are.
#[derive(Clone, Debug)]
enum Keys {
    /// Here, for good.
    Held(KeySet),
    /// At the issuer's, who is asked for them.
    Remote(Arc<Remote>),
    /// Nowhere: somebody is asked about every token.
    Asked(Arc<Asked>),
}

/// Why an issuer's tokens could never be verified.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error(transparent)]
    Key(#[from] BadKey),

    #[error(transparent)]
    Trust(#[from] TrustError),

    #[error("the address of its database {0}")]
    Address(#[from] AddressError),
}

impl Foreign {
    /// Reads the issuer's keys, or takes those that `last` knows; remarks tell which are not used
    /// and why.
    pub(super) fn new(
        issuer: &Issuer,
        last: &[Self],
    ) -> Result<(Self, Vec<KeyRemark>), IssuerError> {
        let (keys, remarks) = match &issuer.keys {
            keys if keys.is_asked() => {
                let mut known = last.iter().filter_map(Self::asked);
                let asked = match known.find(|asked| asked.serves(issuer)) {
                    Some(asked) => asked.clone(),
                    None => Arc::new(Asked::new(issuer)?),
                };
                (Keys::Asked(asked), Vec::new())
            }
            keys if !keys.is_remote() => {
                let (keys, remarks) = held(issuer)?;
                (Keys::Held(keys), remarks)
            }
            _ => {
                let mut known = last.iter().filter_map(Self::remote);
                let remote = match known.find(|remote| remote.serves(issuer)) {
                    Some(remote) => remote.clone(),
                    None => Arc::new(Remote::new(issuer)?),
                };
                (Keys::Remote(remote), Vec::new())
            }
        };
        let name = issuer.name.as_str().into();
        Ok((Self { name, rules: issuer.clone(), keys }, remarks))
    }

    /// The issuer's name in the configuration.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The issuer's keys, where it is asked for them.
    pub(super) fn remote(&self) -> Option<&Arc<Remote>> {
        match &self.keys {
            Keys::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    /// Who is asked about every token of the issuer.
    pub(super) fn asked(&self) -> Option<&Arc<Asked>> {
        match &self.keys {
            Keys::Asked(asked) => Some(asked),
            _ => None,
        }
    }

    /// Changes when the issuer's keys do; `None` while none is known.
    pub(super) fn epoch(&self, now: Timestamp) -> Option<u64> {
        match &self.keys {
            Keys::Held(keys) => Some(keys.epoch()),
            Keys::Remote(remote) => remote.epoch(now),
            Keys::Asked(_) => None,
        }
    }

    /// Whether the issuer's takeover has ended.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.rules.until.is_some_and(|until| until <= now)
    }

    /// Whether a token with this `iss`, or with none, can be this issuer's.
    pub(super) fn may_issue(&self, issuer: Option<&str>) -> bool {
        match issuer {
            Some(issuer) => issuer == self.rules.issuer,
            None if self.asked().is_some() => false,
            None => !self.rules.required.iter().any(|name| name == "iss"),
        }
    }

    /// Verifies a token of this issuer in all that does not change with time; with the epoch of
    /// the keys that proved it. The claims are the caller's to add, who owns them.
    pub(super) fn verify(
        &self,
        token: &Compact<'_>,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<(Verified, u64), Unproved> {
        let epoch = self.prove(token, now)?;
        let verified = self.check_anyones(token, claims).map_err(Refusal::invalid)?;
        if !self.is_of_subjects(claims) {
            let cause = "the subject is not among the issuer's `subjects`";
            return Err(Refusal::invalid(cause).into());
        }
        Ok((verified, epoch))
    }

    /// Whether a token is good but for whose it is.
    pub(super) fn is_strangers(
        &self,
        token: &Compact<'_>,
        claims: &Claims,
        now: Timestamp,
    ) -> bool {
        !self.is_of_subjects(claims)
            && self.prove(token, now).is_ok()
            && self.check_anyones(token, claims).is_ok()
    }

    fn is_of_subjects(&self, claims: &Claims) -> bool {
        let subject = claims::required(claims, "sub");
        subject.is_ok_and(|subject| self.rules.takes_subject(subject))
    }

    /// The signature; answers the epoch of the keys that proved it.
    fn prove(&self, token: &Compact<'_>, now: Timestamp) -> Result<u64, Unproved> {
        match &self.keys {
            Keys::Held(keys) => {
                token.verify(keys).map_err(Refusal::invalid)?;
                Ok(keys.epoch())
            }
            // Nobody is asked for keys that would not be used.
            Keys::Remote(_) if self.is_over(now) => {
                Err(Refusal::invalid("the issuer is not accepted any more").into())
            }
            Keys::Remote(remote) => remote.verify(token, now),
            Keys::Asked(_) => Err(Refusal::invalid("only its issuer can tell").into()),
        }
    }

    /// What the issuer's rules say about a token that it signed, whosever it is.
    fn check_anyones(&self, token: &Compact<'_>, claims: &Claims) -> Result<Verified, Cause> {
        self.check_type(token, claims)?;
        let missing = |name: &String| claims.get(name).is_none_or(serde_json::Value::is_null);
        if self.rules.required.iter().any(missing) {
            return Err("a required claim is missing");
        }
        check_audience(&self.rules, claims)?;
        let subject = claims::required(claims, "sub")?;
        let expires = claims::date(claims, "exp")?.ok_or("`exp` is missing")?;
        let issued = claims::date(claims, "iat")?;
        let not_before = claims::date(claims, "nbf")?;
        self.check_lifetime(issued, expires)?;
        Ok(Verified {
            identity: identity(&self.rules, &self.name, subject, claims),
            digest: Digest::of(token.signed().as_bytes()),
            token_id: claims.get("jti").and_then(|jti| jti.as_str()).map(Arc::from),
            issued: issued.unwrap_or_default(),
            not_before: not_before.unwrap_or_default(),
            expires,
            key_hash: None,
            certificate: claims::certificate(claims)?,
            own: false,
            store_made: Timestamp::default(),
            until: self.rules.until,
            leeway: self.rules.leeway,
            told: Default::default(),
        })
    }

    fn check_type(&self, token: &Compact<'_>, claims: &Claims) -> Result<(), Cause> {
        match token.typ() {
            Some(typ) if !self.rules.types.contains(&typ) => {
                return Err("the token is of another type");
            }
            None if !self.rules.type_optional => return Err("the token names no type"),
            _ => {}
        }
        check_not_id(&self.rules, claims)
    }

    fn check_lifetime(&self, issued: Option<Timestamp>, expires: Timestamp) -> Result<(), Cause> {
        let Some(longest) = self.rules.max_lifetime else { return Ok(()) };
        let issued = issued.ok_or("`iat` is missing, by which the lifetime is known")?;
        if expires.since(issued) > longest {
            return Err("the token's lifetime is longer than the issuer's `max_lifetime`");
        }
        Ok(())
    }
}

/// ID tokens are for clients, unless the operator says otherwise.
pub(super) fn check_not_id(rules: &Issuer, claims: &Claims) -> Result<(), Cause> {
    let names = ["nonce", "at_hash", "events"];
    let is_id = claims.get("token_use").is_some_and(|usage| usage == "id");
    if !rules.allow_id_tokens && (is_id || names.iter().any(|name| claims.contains_key(*name))) {
        return Err("an ID token or event token is no access token");
    }
    Ok(())
}

/// Whether the token is meant for whom the issuer's rules say.
pub(super) fn check_audience(rules: &Issuer, claims: &Claims) -> Result<(), Cause> {
    let audience = claims::audience(claims)?;
    match &rules.audience {
        Audience::Any => Ok(()),
        Audience::OneOf(accepted) if claims::is_for(&audience, accepted) => Ok(()),
        Audience::OneOf(_) => Err("the token is meant for others"),
    }
}

/// Whom the claims are about, without these: who owns them adds them.
pub(super) fn identity(
    rules: &Issuer,
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

/// The keys that the configuration holds.
fn held(issuer: &Issuer) -> Result<(KeySet, Vec<KeyRemark>), BadKey> {
    // Whether a short secret is permitted was asked when the configuration was checked, where
    // only a takeover issuer can say so; nobody else gets past this line with one.
    let weak = issuer.until.is_some();
    let algorithms = &issuer.algorithms;
    let (keys, remarks) = match &issuer.keys {
        IssuerKeys::Jwks(text) => KeySet::from_jwks(text, algorithms, weak)?,
        IssuerKeys::Pem(text) => KeySet::from_pem(text, algorithms)?,
        IssuerKeys::Secret(secret) => KeySet::from_secret(secret, algorithms, weak)?,
        // Not here.
        _ => Default::default(),
    };
    if keys.keys().is_empty() {
        return Err(BadKey("none of its keys can be used"));
    }
    Ok((keys, remarks))
}
