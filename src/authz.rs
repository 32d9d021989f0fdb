//! Decides whether an authenticated identity may do what it asks for.
//!
//! It reads a route's rule and an identity, and nothing else. Who the caller is was decided by
//! `authn` before. There is no I/O and no state, so the same question always has the same answer.

use serde_json::Value;

use crate::identity::{Identity, RESERVED_ISSUERS, SELF_ISSUER};
use crate::settings::RequireRule;

/// The part of the rule that the identity does not fulfil. It is the cause in the log; the client
/// only learns that it is not permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("tokens of this issuer are not taken here")]
    Issuer,

    #[error("tokens of this login are not taken here")]
    Login,

    #[error("none of the required roles is granted")]
    Role,

    #[error("a required scope is not granted")]
    Scope,

    #[error("a required claim has another value")]
    Claim,
}

/// Permits `identity` what a route requires: one of the roles, all scopes, all claims. An empty
/// list of issuers or logins accepts all of them.
///
/// Issuers and logins are about tokens. A caller with another kind of credential has neither, and
/// only has to fulfil `require`. A token of an external issuer has no login: if logins are listed,
/// it is accepted only if its issuer is listed as well.
/// issuer is listed too.
pub fn permit(
    require: &RequireRule,
    issuers: &[String],
    logins: &[String],
    identity: &Identity,
) -> Result<(), PermitError> {
    // These names stand for kinds of credentials that are no tokens (see `RESERVED_ISSUERS`). No
    // configured issuer can have one of them. For them the lists of issuers and logins have no
    // meaning.
    if RESERVED_ISSUERS.contains(&&*identity.issuer) {
        return meets(require, identity);
    }
    let listed = |list: &[String], name: &str| list.iter().any(|one| one == name);
    let by_issuer = listed(issuers, &identity.issuer);
    if !issuers.is_empty() && !by_issuer {
        return Err(PermitError::Issuer);
    }
    let own = identity.issuer.as_ref() == SELF_ISSUER;
    // A login's name means something only in tokens of the gateway itself. An external issuer could
    // put any name into that claim. Such a token would otherwise pass for one of a login that the
    // route trusts.
    let by_login = if own { listed(logins, &identity.login) } else { by_issuer };
    if !logins.is_empty() && !by_login {
        return Err(PermitError::Login);
    }
    meets(require, identity)
}

/// Compares roles, scopes and claims with the rule.
fn meets(require: &RequireRule, identity: &Identity) -> Result<(), PermitError> {
    let has_role = |name: &String| identity.roles.iter().any(|role| role.as_ref() == name);
    if !require.roles.is_empty() && !require.roles.iter().any(has_role) {
        return Err(PermitError::Role);
    }
    let has_scope = |name: &String| identity.scopes.iter().any(|scope| scope.as_ref() == name);
    if !require.scopes.iter().all(has_scope) {
        return Err(PermitError::Scope);
    }
    let holds = |(name, wanted): &(String, Value)| {
        identity.claims.get(name).is_some_and(|claim| has(claim, wanted))
    };
    if require.claims.iter().all(holds) { Ok(()) } else { Err(PermitError::Claim) }
}

/// True if the claim is equal to `wanted`, or is a list that contains it.
fn has(claim: &Value, wanted: &Value) -> bool {
    same(claim, wanted)
        || claim.as_array().is_some_and(|list| list.iter().any(|item| same(item, wanted)))
}

/// Equality in which 1 and 1.0 are the same number (RFC 8259, section 6, does not distinguish
/// them).
fn same(one: &Value, other: &Value) -> bool {
    one == other
        || (one.is_number() && other.is_number() && one.as_f64() == other.as_f64()
            // Beyond 2^53 different integers become the same float, so integers are compared as
            // such.
            && !(one.is_u64() && other.is_u64())
            && !(one.is_i64() && other.is_i64()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Subject;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn identity(issuer: &str, login: &str) -> Identity {
        let granted = |list: &[&str]| list.iter().map(|name| Arc::from(*name)).collect();
        Identity {
            subject: Subject::new("id"),
            username: "bob".into(),
            source: "staff".into(),
            issuer: issuer.into(),
            login: login.into(),
            session: None,
            roles: granted(&["reader", "writer"]),
            scopes: granted(&["a", "b"]),
            claims: serde_json::from_str(r#"{"tenant":"acme","teams":["x",7],"level":3.0}"#)
                .unwrap(),
        }
    }

    #[test]
    fn roles_are_any_of_and_scopes_and_claims_are_all_of() {
        for (roles, scopes, claims, expected, why) in [
            (&[][..], &[][..], "{}", Ok(()), "nothing is asked"),
            (&["admin", "reader"], &[], "{}", Ok(()), "one role is enough"),
            (&["admin"], &[], "{}", Err(PermitError::Role), "no such role"),
            (&["Reader"], &[], "{}", Err(PermitError::Role), "names are exact"),
            (&[], &["a", "b"], "{}", Ok(()), "both scopes"),
            (&[], &["a", "c"], "{}", Err(PermitError::Scope), "one scope is missing"),
            (&[], &[], r#"{"tenant":"acme","teams":"x"}"#, Ok(()), "equal and contained"),
            (
                &[],
                &[],
                r#"{"tenant":"acme","teams":"y"}"#,
                Err(PermitError::Claim),
                "not in the list",
            ),
            (&[], &[], r#"{"tenant":"acm"}"#, Err(PermitError::Claim), "a part of the value"),
            (&[], &[], r#"{"missing":null}"#, Err(PermitError::Claim), "absent is not null"),
            (&[], &[], r#"{"teams":7,"level":3}"#, Ok(()), "3 is 3.0"),
            (&[], &[], r#"{"teams":"7"}"#, Err(PermitError::Claim), "a number is no text"),
            (&[], &[], r#"{"teams":["x",7]}"#, Ok(()), "the same list"),
        ] {
            let claims: serde_json::Map<_, _> = serde_json::from_str(claims).unwrap();
            let claims = claims.into_iter().collect();
            let require = RequireRule { roles: names(roles), scopes: names(scopes), claims };

            let verdict = permit(&require, &[], &[], &identity("self", "native"));

            assert_eq!(verdict, expected, "{why}");
        }
    }

    #[test]
    fn issuers_and_logins_are_kept_apart() {
        for (issuers, logins, issuer, login, expected, why) in [
            (&[][..], &[][..], "self", "native", Ok(()), "all are taken"),
            (&["self"], &[], "self", "native", Ok(()), "ours is listed"),
            (&["self"], &[], "auth0", "", Err(PermitError::Issuer), "another issuer"),
            (&["auth0"], &[], "self", "native", Err(PermitError::Issuer), "ours is not listed"),
            (&[], &["native"], "self", "native", Ok(()), "the login is listed"),
            (&[], &["native"], "self", "webitel", Err(PermitError::Login), "another login"),
            (&[], &["native"], "auth0", "", Err(PermitError::Login), "a stranger has no login"),
            (&["auth0"], &["native"], "auth0", "", Ok(()), "its issuer is listed"),
            (&[], &[""], "auth0", "", Err(PermitError::Login), "no login is not an empty one"),
            (&["self"], &["native"], "api_key", "", Ok(()), "a key has neither"),
            (&["self"], &["native"], "basic", "", Ok(()), "a password has neither"),
            (&["auth0"], &["native"], "certificate", "", Ok(()), "a certificate has neither"),
        ] {
            let identity = identity(issuer, login);

            let verdict =
                permit(&RequireRule::default(), &names(issuers), &names(logins), &identity);

            assert_eq!(verdict, expected, "{why}");
        }
    }

    #[test]
    fn what_is_required_is_required_of_everybody() {
        let require = RequireRule { roles: names(&["admin"]), ..RequireRule::default() };
        for issuer in ["self", "auth0", "api_key", "basic", "certificate"] {
            let verdict = permit(&require, &[], &[], &identity(issuer, ""));

            assert_eq!(verdict, Err(PermitError::Role), "{issuer}");
        }
    }
}
