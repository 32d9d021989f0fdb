//! The facts about a session that a dialect's templates may use, and the claims that are made of
//! them.
//!
//! `login` answers with these facts when it issues a token. For an opaque token `authn` makes the
//! same claims later, of the stored session.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::dialect::{Dialect, LoginValues, SessionValues, Template, TemplateValues, UserValues};
use crate::identity::Claims;
use crate::session::Session;
use crate::settings::LoginSettings;

/// The facts about a login.
pub fn login_facts(login: &LoginSettings, now: Timestamp) -> TemplateValues {
    TemplateValues {
        now,
        login: LoginValues {
            name: login.name.clone(),
            issuer: login.issuer.clone(),
            audience: login.audience.clone(),
            url: login.url.clone(),
            about: login.about.clone(),
        },
        ..TemplateValues::default()
    }
}

/// The facts about a session, its user and its login.
pub fn session_facts(session: &Session, login: &LoginSettings, now: Timestamp) -> TemplateValues {
    TemplateValues {
        user: Some(UserValues { id: session.subject.to_string(), profile: session.profile() }),
        session: Some(SessionValues {
            id: session.id.to_string(),
            key: None,
            csrf: None,
            created: session.created,
            expires: session.expires,
        }),
        ..login_facts(login, now)
    }
}

/// The user's own claims and those of the dialect; the dialect's claims win, so that a user source
/// cannot overwrite `exp` or `sub`. Routes can require the user's claims.
pub fn rendered_claims(
    template: &Template,
    session: &Session,
    dialect: &Dialect,
    facts: &TemplateValues,
) -> Claims {
    let mut claims = session.claims.clone();
    claims.extend(dialect_claims(template, dialect, facts));
    claims
}

/// The claims that the dialect's template makes.
pub fn dialect_claims(template: &Template, dialect: &Dialect, facts: &TemplateValues) -> Claims {
    match dialect.render(template, facts) {
        Value::Object(claims) => claims,
        // Invariant: a dialect's template for claims is an object, checked when the dialect was
        // loaded.
        _ => Claims::new(),
    }
}
