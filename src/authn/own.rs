//! Our own tokens: what must hold beside the signature.
//!
//! The type in the header tells access from refresh, whatever claims a dialect adds. `client_id`
//! names the login that issued the token; issuer and audience are that login's. Identity comes
//! from `uid`, never from a dialect's `sub`.

use std::sync::Arc;
use std::time::Duration;

use super::claims;
use super::jws::{Cause, Compact};
use super::verified::Verified;
use crate::clock::Timestamp;
use crate::config::Login;
use crate::identity::{Claims, Identity, SELF_ISSUER, SessionId, Subject};
use crate::secret::Digest;
use crate::token::{ACCESS_TYPE, KeySet, REFRESH_TYPE};

/// By what rules our own tokens are taken.
#[derive(Clone, Debug)]
pub(super) struct Own {
    logins: Vec<Rule>,
    /// Tokens issued before the store was made have no sessions in it.
    made: Timestamp,
    leeway: Duration,
}

/// One login, as its tokens name it.
#[derive(Clone, Debug)]
struct Rule {
    name: Arc<str>,
    issuer: String,
    audience: Vec<String>,
}

/// The two types of our tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Access,
    Refresh,
}

impl Own {
    pub(super) fn new(logins: &[Login], made: Timestamp, leeway: Duration) -> Self {
        let rule = |login: &Login| Rule {
            name: login.name.as_str().into(),
            issuer: login.issuer.clone(),
            audience: login.audience.clone(),
        };
        Self { logins: logins.iter().map(rule).collect(), made, leeway }
    }

    /// Whether a token with this `iss` claims to be ours.
    pub(super) fn issues_as(&self, issuer: &str) -> bool {
        self.logins.iter().any(|login| login.issuer == issuer)
    }

    /// Verifies a token of ours in all that does not change with time.
    pub(super) fn verify(
        &self,
        token: &Compact<'_>,
        claims: Claims,
        keys: &KeySet,
        kind: Kind,
    ) -> Result<Verified, Cause> {
        token.verify(keys)?;
        let typ = if kind == Kind::Access { ACCESS_TYPE } else { REFRESH_TYPE };
        if token.typ().as_deref() != Some(typ) {
            return Err("the token is of another type");
        }
        let login = self.login(&claims)?;
        let audience = claims::audience(&claims)?;
        if !claims::is_for(&audience, &login.audience) {
            return Err("the token is meant for others");
        }
        let date = |name| claims::date(&claims, name)?.ok_or("a required date is missing");
        let (issued, not_before, expires) = (date("iat")?, date("nbf")?, date("exp")?);
        claims::required(&claims, "sub")?;
        let key_hash = claims::text(&claims, "kh")?.map(digest).transpose()?;
        let token_id = Some(claims::required(&claims, "jti")?.into());
        let identity = identity(login.name.clone(), claims, kind)?;
        let digest = Digest::of(token.signed().as_bytes());
        let (leeway, until) = (self.leeway, None);
        let own = true;
        Ok(Verified {
            identity,
            digest,
            token_id,
            issued,
            not_before,
            expires,
            key_hash,
            certificate: None,
            own,
            store_made: self.made.whole_secs(),
            until,
            leeway,
            told: Default::default(),
        })
    }

    fn login(&self, claims: &Claims) -> Result<&Rule, Cause> {
        let name = claims::required(claims, "client_id")?;
        let login = self.logins.iter().find(|login| login.name.as_ref() == name);
        let login = login.ok_or("no login has the token's `client_id`")?;
        if claims::required(claims, "iss")? != login.issuer {
            return Err("the token's issuer is not its login's");
        }
        Ok(login)
    }
}

fn identity(login: Arc<str>, claims: Claims, kind: Kind) -> Result<Identity, Cause> {
    let session =
        SessionId::parse(claims::required(&claims, "sid")?).ok_or("`sid` is no session id")?;
    let subject = Subject::new(claims::required(&claims, "uid")?);
    let source = claims::required(&claims, "src")?.into();
    let username = match kind {
        Kind::Access => claims::required(&claims, "preferred_username")?,
        Kind::Refresh => "",
    };
    Ok(Identity {
        subject,
        username: username.into(),
        source,
        issuer: SELF_ISSUER.into(),
        login,
        session: Some(session),
        roles: claims::names(claims.get("roles")),
        scopes: claims::names(claims.get("scope")),
        claims,
    })
}

fn digest(text: &str) -> Result<Digest, Cause> {
    serde_json::from_value(text.into()).map_err(|_| "`kh` is no digest")
}
