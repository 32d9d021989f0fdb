//! A request for a user, as though the user had logged in (`--as`).
//!
//! The session is made and never stored, and its token never leaves the dry run. Who the user is, is
//! looked up at the source as for `token mint`. That is the one question that a dry run asks, and only
//! if the operator names somebody.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderValue};

use super::request::{ExplainError, WrittenRequest};
use crate::authn::{X_ACCESS_TOKEN, X_KEY};
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
        RouteMatch::Route(route)
        | RouteMatch::LoginUnlessAuthenticated { route: Some(route), .. } => Some(route.clone()),
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
        present(request, &token, key.as_ref())?;
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

/// Puts the token, and its key if it has one, into the fields of the request.
fn present(
    request: &mut WrittenRequest,
    token: &SecretString,
    key: Option<&SecretString>,
) -> Result<(), ExplainError> {
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| ExplainError::User("the token cannot be sent in a field".to_owned()))
    };
    let headers = &mut request.head.headers;
    match key {
        Some(key) => {
            headers.insert(X_ACCESS_TOKEN, value(token.expose())?);
            headers.insert(X_KEY, value(key.expose())?);
        }
        None => {
            headers.insert(AUTHORIZATION, value(&format!("Bearer {}", token.expose()))?);
        }
    }
    Ok(())
}
