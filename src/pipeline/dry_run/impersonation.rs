//! A request for a user, as though the user had logged in (`--as`).
//!
//! The session is made and never stored, and its token never leaves the dry run. Who the user is, is
//! looked up at the source as for `token mint`. That is the one question that a dry run asks, and only
//! if the operator names somebody.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use http::request::Parts;

use super::request::{ExplainError, WrittenRequest};
use crate::authn::{X_ACCESS_TOKEN, X_KEY};
use crate::dialect::Carrier;
use crate::gateway::{ServedRoute, WorkerView};
use crate::login::Login;
use crate::routing::{RouteMatch, Target};
use crate::secret::SecretString;
use crate::settings::LoginSettings;
use crate::users::{LoginName, UserRecord};

/// Gives the request the token of a session of `name`, at a login that its route takes. Returns a
/// sentence about it.
///
/// # Errors
/// No login on the route's list knows the user, or the user is disabled.
pub(super) async fn impersonate(
    view: &Arc<WorkerView>,
    request: &mut WrittenRequest,
    name: &str,
) -> Result<String, ExplainError> {
    let generation = &view.generation;
    let target = Target::parse(&request.head, request.client.bounds);
    let route = target.as_ref().ok().and_then(|target| match generation.table.find(target) {
        RouteMatch::Route(route) | RouteMatch::LoginOrRoute { route: Some(route), .. } => {
            Some(route.clone())
        }
        _ => None,
    });
    let now = view.shared.clock.now();
    let mut logins: Vec<&LoginSettings> = generation.config.logins.iter().collect();
    logins.retain(|login| route.as_ref().is_none_or(|route| is_taken(route, login)));
    // A login whose token the route can take goes first.
    logins.sort_by_key(|login| !route.as_ref().is_none_or(|route| fits(route, login)));
    if logins.is_empty() {
        return Err(ExplainError::User("no login's tokens are taken there".to_owned()));
    }
    for settings in logins {
        let Some(user) = find(view, settings, name).await? else { continue };
        let login = Login {
            config: settings.clone(),
            services: generation.services.clone(),
            verifier: generation.verifier.clone(),
        };
        let (token, key) = login
            .unstored_session(&user, now)
            .map_err(|error| ExplainError::User(error.cause.into_owned()))?;
        let kind = route.as_ref().filter(|route| !takes_usual(route, settings));
        let places = kind.and_then(|route| route.carriers.places_of(&settings.name));
        present(request, &token, key.as_ref(), places)?;
        return Ok(format!(
            "as though `{}` of source `{}` had logged in at login `{}`; the session is not stored",
            user.profile.name, user.source, settings.name
        ));
    }
    Err(ExplainError::User(format!("user `{name}` is not known, or disabled")))
}

/// True if the route takes tokens of this login.
fn is_taken(route: &ServedRoute, login: &LoginSettings) -> bool {
    let logins = &route.config.logins;
    logins.is_empty() || logins.contains(&login.name)
}

/// True if the route takes the kind of credential that this login gives.
fn fits(route: &ServedRoute, login: &LoginSettings) -> bool {
    takes_usual(route, login) || route.carriers.places_of(&login.name).is_some()
}

/// True if the route takes the usual kind: the pair if the login gives keys, or else Bearer tokens.
fn takes_usual(route: &ServedRoute, login: &LoginSettings) -> bool {
    if login.dialect.gives_key { route.accept.token_key } else { route.accept.bearer }
}

/// The user, by name or by e-mail address.
async fn find(
    view: &WorkerView,
    login: &LoginSettings,
    name: &str,
) -> Result<Option<UserRecord>, ExplainError> {
    let failed = |error: crate::users::SourceError| ExplainError::User(error.to_string());
    let users = &view.generation.services.users;
    for spelled in [LoginName::Username(name.to_owned()), LoginName::Email(name.to_owned())] {
        if let Some(key) = users.resolve(&login.users, &spelled).await.map_err(failed)? {
            return users.find(&key.source, &key.id, name).await.map_err(failed);
        }
    }
    Ok(None)
}

/// Puts the token, and its key if it has one, into the request: into these places of a login's own,
/// or else into the usual fields.
fn present(
    request: &mut WrittenRequest,
    token: &SecretString,
    key: Option<&SecretString>,
    places: Option<&[Carrier]>,
) -> Result<(), ExplainError> {
    let usual = match key {
        Some(_) => vec![Carrier::Field(X_ACCESS_TOKEN), Carrier::Field(X_KEY)],
        None => vec![Carrier::bearer()],
    };
    let places = places.unwrap_or(&usual);
    for (place, secret) in places.iter().zip([Some(token), key]) {
        let Some(secret) = secret else { continue };
        put(&mut request.head, place, secret.expose())?;
    }
    Ok(())
}

/// Puts a value into its place.
fn put(head: &mut Parts, place: &Carrier, value: &str) -> Result<(), ExplainError> {
    let unsendable =
        || ExplainError::User("the token cannot be sent where its login has it".to_owned());
    let field = |value: &str| HeaderValue::from_str(value).map_err(|_| unsendable());
    match place {
        Carrier::Scheme(scheme) if scheme.is_empty() => {
            head.headers.insert(AUTHORIZATION, field(value)?);
        }
        Carrier::Scheme(scheme) => {
            head.headers.insert(AUTHORIZATION, field(&format!("{scheme} {value}"))?);
        }
        Carrier::Field(name) => {
            head.headers.insert(name.clone(), field(value)?);
        }
        Carrier::Cookie(name) => {
            head.headers.append(COOKIE, field(&format!("{name}={value}"))?);
        }
        Carrier::Query(name) => {
            let pair: String =
                form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            let separator = if head.uri.query().is_some() { '&' } else { '?' };
            let target = format!("{}{separator}{pair}", head.uri);
            head.uri = target.parse().map_err(|_| unsendable())?;
        }
        Carrier::Variable(_) | Carrier::Member(..) => return Err(unsendable()),
    }
    Ok(())
}
