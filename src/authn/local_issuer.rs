//! The gateway's own tokens: the rules that must hold besides the signature.
//!
//! The `typ` of the header tells access tokens from refresh tokens, whichever claims a dialect
//! adds. `client_id` names the login that issued the token, and issuer and audience must be that
//! login's. The identity is taken from `uid`, never from `sub`, because a dialect may put another
//! value there. `Verifier` calls this.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{self, TokenDates};
use super::jws::{CompactJws, RefusalCause};
use super::verified::{IssuerTerms, TokenBinding, VerifiedCredential};
use crate::identity::{Claims, Identity, SELF_ISSUER, SessionId, Subject};
use crate::secret::Digest;
use crate::settings::LoginSettings;
use crate::token::{ACCESS_TYPE, KeySet, REFRESH_TYPE};

/// The rules for our own tokens.
#[derive(Clone, Debug)]
pub(super) struct LocalIssuer {
    logins: Vec<LoginRules>,
    terms: IssuerTerms,
}

/// The rules of one login, as its tokens name them.
#[derive(Clone, Debug)]
struct LoginRules {
    name: Arc<str>,
    issuer: String,
    audience: Vec<String>,
}

/// The two types of our own tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    Access,
    Refresh,
}

impl LocalIssuer {
    /// Prepares the rules. `leeway` is the tolerated difference of clocks.
    pub(super) fn new(logins: &[LoginSettings], leeway: Duration) -> Self {
        let rule = |login: &LoginSettings| LoginRules {
            name: login.name.as_str().into(),
            issuer: login.issuer.clone(),
            audience: login.audience.clone(),
        };
        let terms = IssuerTerms::local(leeway);
        Self { logins: logins.iter().map(rule).collect(), terms }
    }

    /// True if a token with this `iss` claims to be ours.
    pub(super) fn issues_as(&self, issuer: &str) -> bool {
        self.logins.iter().any(|login| login.issuer == issuer)
    }

    /// Verifies everything about an own token that does not change with time.
    ///
    /// # Errors
    /// A wrong signature, type, login, issuer or audience, and a missing or malformed claim. Every
    /// own token has all the required claims, so a missing one is a fault.
    pub(super) fn verify(
        &self,
        token: &CompactJws<'_>,
        claims: Claims,
        keys: &KeySet,
        kind: TokenType,
    ) -> Result<VerifiedCredential, RefusalCause> {
        // The signature comes first: nothing in the claims may decide the answer before it holds.
        token.verify(keys)?;
        let typ = if kind == TokenType::Access { ACCESS_TYPE } else { REFRESH_TYPE };
        // A refresh token must never open a route, and an access token must never refresh a session
        // (RFC 8725 §3.11: explicit typing).
        if token.typ().as_deref() != Some(typ) {
            return Err("the token is of another type");
        }
        let login = self.login(&claims)?;
        let audience = claims::audience(&claims)?;
        if !claims::is_for(&audience, &login.audience) {
            return Err("the token is meant for others");
        }
        let dates = TokenDates::parse(&claims)?;
        if [dates.issued, dates.not_before, dates.expires].contains(&None) {
            return Err("a required date is missing");
        }
        claims::required(&claims, "sub")?;
        let key = claims::text(&claims, "kh")?.map(digest).transpose()?;
        let binding = key.map_or(TokenBinding::Nothing, TokenBinding::Key);
        let token_id = Some(claims::required(&claims, "jti")?.into());
        let identity = identity(login.name.clone(), claims, kind)?;
        let digest = Digest::of(token.signed().as_bytes());
        Ok(VerifiedCredential::token(identity, digest, token_id, dates, binding, self.terms))
    }

    /// The rules of the login that the token's `client_id` names. The issuer must be that login's,
    /// so that a token of one login cannot pass as another's.
    fn login(&self, claims: &Claims) -> Result<&LoginRules, RefusalCause> {
        let name = claims::required(claims, "client_id")?;
        let login = self.logins.iter().find(|login| login.name.as_ref() == name);
        let login = login.ok_or("no login has the token's `client_id`")?;
        if claims::required(claims, "iss")? != login.issuer {
            return Err("the token's issuer is not its login's");
        }
        Ok(login)
    }
}

/// The identity in the claims of an own token. A refresh token has no user name.
pub(super) fn identity(
    login: Arc<str>,
    claims: Claims,
    kind: TokenType,
) -> Result<Identity, RefusalCause> {
    let session =
        SessionId::parse(claims::required(&claims, "sid")?).ok_or("`sid` is no session id")?;
    let subject = Subject::new(claims::required(&claims, "uid")?);
    let source = claims::required(&claims, "src")?.into();
    let username = match kind {
        TokenType::Access => claims::required(&claims, "preferred_username")?,
        TokenType::Refresh => "",
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

/// Parses the `kh` claim: the digest of the pair's key.
fn digest(text: &str) -> Result<Digest, RefusalCause> {
    serde_json::from_value(text.into()).map_err(|_| "`kh` is no digest")
}
