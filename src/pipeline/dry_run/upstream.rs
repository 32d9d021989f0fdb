//! The request that the upstream would receive, without the values of credentials.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::DryRun;
use super::explanation::{ServerFacts, UpstreamRequest};
use crate::dialect::Carrier;
use crate::gateway::RouteTarget;
use crate::headers::{QueryCredentials, is_credential};
use crate::settings::{IdentityForm, PassRule, UpstreamCredential, UpstreamSettings};

/// The text in the place of a credential.
const HIDDEN: &str = "…";

impl DryRun<'_> {
    /// The request as it was captured.
    pub(super) fn upstream_request(&self) -> Option<UpstreamRequest> {
        let request = self.captured.as_ref()?;
        let route = self.route()?;
        let RouteTarget::Forward(pool) = &route.action else { return None };
        let servers = pool.snapshot().servers.into_iter().map(|server| ServerFacts {
            server: server.name.to_string(),
            condition: server.condition.as_str().to_owned(),
        });
        let secret = self.secret_names();
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_secret = value.is_sensitive() || is_secret(name) || secret.contains(name);
            let text = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), if is_secret { hidden(name, &text) } else { text.into_owned() })
        };
        Some(UpstreamRequest {
            upstream: pool.name().to_string(),
            server: request.server.to_string(),
            servers: servers.collect(),
            protocol: if request.version == Version::HTTP_2 { "2" } else { "1.1" },
            method: request.method.to_string(),
            target: without_credentials(&request.target, route.carriers.removed()),
            credential: self.own_credential(),
            fields: request.headers.iter().map(field).collect(),
            removed: removed(&self.head.headers, &request.headers),
            replaced: replaced(&self.head.headers, &request.headers),
        })
    }

    /// The upstream's own credential, in words.
    fn own_credential(&self) -> Option<String> {
        let credential = self.upstream_settings()?.credential.as_ref()?;
        Some(match credential {
            UpstreamCredential::Basic { username, .. } => format!("basic, as `{username}`"),
            UpstreamCredential::Bearer(_) => "bearer".to_owned(),
            UpstreamCredential::Headers(_) => "headers".to_owned(),
            UpstreamCredential::Login(login) => format!("login, as `{}`", login.username),
            UpstreamCredential::Session(session) => {
                format!("session, what the legacy system gave its user of `{}`", session.source)
            }
            UpstreamCredential::Mint(mint) => {
                let whose = match self.route().and_then(|route| self.proved(route)) {
                    Some(verified) => format!("for `{}`", verified.identity.username),
                    None => "none, since nobody is verified".to_owned(),
                };
                let algorithm = mint.algorithm.as_str();
                format!("mint, {algorithm} in {}: {whose}", mint.carrier)
            }
        })
    }

    /// The upstream of the route.
    fn upstream_settings(&self) -> Option<&UpstreamSettings> {
        let name = self.route()?.config.upstream()?;
        self.view.generation.config.upstreams.iter().find(|one| one.name == name)
    }

    /// Fields that carry a credential on this route, beside those that always do.
    fn secret_names(&self) -> Vec<HeaderName> {
        let generation = &self.view.generation;
        let mut names: Vec<HeaderName> =
            generation.services.api_keys.header().cloned().into_iter().collect();
        let Some(route) = self.route() else { return names };
        names.extend(route.carriers.fields().cloned());
        if let IdentityForm::Jwt(name) = &route.config.identity {
            names.push(name.clone());
        }
        for rule in &route.config.pass {
            if let PassRule::Header(name) = rule {
                names.push(name.clone());
            }
        }
        let credential = self.upstream_settings().and_then(|upstream| upstream.credential.as_ref());
        names.extend(credential.map(UpstreamCredential::names).unwrap_or_default());
        names
    }
}

/// True for fields that carry a credential on any route.
fn is_secret(name: &HeaderName) -> bool {
    is_credential(name)
        || [header::COOKIE, header::PROXY_AUTHORIZATION].contains(name)
        || name.as_str() == "x-api-key"
}

/// A credential shortened to its scheme.
fn hidden(name: &HeaderName, value: &str) -> String {
    match value.split_once(' ') {
        Some((scheme, _)) if *name == header::AUTHORIZATION => format!("{scheme} {HIDDEN}"),
        _ => HIDDEN.to_owned(),
    }
}

/// The fields of the client that do not go along.
fn removed(sent: &HeaderMap, received: &HeaderMap) -> Vec<String> {
    let is_gone = |name: &&HeaderName| !received.contains_key(*name);
    sent.keys().filter(is_gone).map(ToString::to_string).collect()
}

/// The fields of the client in whose place the gateway sends its own value.
fn replaced(sent: &HeaderMap, received: &HeaderMap) -> Vec<String> {
    let is_other = |name: &&HeaderName| {
        let values = |headers: &HeaderMap| -> Vec<HeaderValue> {
            headers.get_all(*name).iter().cloned().collect()
        };
        let sent = values(sent);
        let received = values(received);
        !received.is_empty() && !received.starts_with(&sent)
    };
    sent.keys().filter(is_other).map(ToString::to_string).collect()
}

/// A target without the values of credentials in its query. `carriers` are the places where logins
/// carry tokens.
pub(super) fn without_credentials(target: &str, carriers: &[Carrier]) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let credentials = QueryCredentials { in_query: true, carriers, kept: &[] };
    format!("{path}?{}", credentials.hidden_in(query, HIDDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_in_what_is_shown() {
        let name = header::AUTHORIZATION;
        let carriers = [Carrier::Query("token".to_owned())];
        assert_eq!(hidden(&name, "Bearer abc.def"), "Bearer …");
        assert_eq!(hidden(&name, "abc"), "…");
        assert_eq!(hidden(&HeaderName::from_static("x-key"), "a b"), "…");
        assert_eq!(
            without_credentials("/a?b=1&access%5Ftoken=t&x_key=k&c&t%6Fken=t", &carriers),
            "/a?b=1&access%5Ftoken=…&x_key=…&c&t%6Fken=…"
        );
        assert_eq!(
            without_credentials("/a?b=1;access_token=t", &carriers),
            "/a?b=1;access_token=…"
        );
    }
}
