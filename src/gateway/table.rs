//! The route table of a generation: every login's endpoints, every route.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::HeaderName;

use super::ends::RouteEnds;
use super::{BuildError, LoginEndpoint, Route, Shared};
use crate::authn::{Accept, Verifier};
use crate::config::{self, Config, CredentialKind, IdentityForm, UpstreamCredential};
use crate::dialect::Step;
use crate::login::{self, Login, Services};
use crate::routing::{EndpointPlacement, Oddities, Pattern, Placement, RouteTable};
use crate::upstream::Pool;
use crate::upstream::headers::{Protected, Rules, is_credential};

pub(crate) type Table = RouteTable<LoginEndpoint, Arc<Route>>;

pub(super) fn add_logins(
    table: &mut Table,
    shared: &Shared,
    config: &Config,
    services: &Arc<Services>,
    verifier: &Arc<Verifier>,
) {
    for settings in &config.logins {
        let about = login::told(settings, &config.issuers);
        let login = Arc::new(Login {
            config: config::Login { about, ..settings.clone() },
            services: services.clone(),
            verifier: verifier.clone(),
        });
        let name: Arc<str> = format!("login:{}", settings.name).into();
        let metrics = shared.metrics.route(&name);
        for (number, endpoint) in settings.dialect.endpoints.iter().enumerate() {
            let path = format!("{}{}", settings.prefix, endpoint.path);
            let entry = LoginEndpoint {
                login: login.clone(),
                number,
                name: name.clone(),
                metrics: metrics.clone(),
            };
            let falls_through = endpoint.step == Step::Answer && endpoint.when_unauthenticated;
            let (hosts, path, method) =
                (settings.hosts.as_slice(), path.as_str(), &endpoint.method);
            table.add_login(&EndpointPlacement { hosts, path, method, falls_through }, &entry);
        }
    }
}

/// What routes are made of besides their own settings.
pub(super) struct Parts<'a> {
    pub(super) pools: &'a HashMap<String, Arc<Pool>>,
    pub(super) ends: &'a RouteEnds,
}

pub(super) fn add_routes(
    table: &mut Table,
    shared: &Shared,
    config: &Config,
    parts: &Parts<'_>,
) -> Result<(), BuildError> {
    let mut protected: HashMap<&str, Arc<Protected>> = HashMap::new();
    let api_key = config.api_key_header();
    for upstream in &config.upstreams {
        // Every name that any route to this upstream sets, so that no route lets it through.
        let routes = config.routes.iter().filter(|route| route.upstream == upstream.name);
        let set = routes.clone().flat_map(|route| route.request_headers.set.iter());
        let mut names: Vec<HeaderName> = set.map(|(name, _)| name.clone()).collect();
        names.extend(routes.filter_map(|route| match &route.identity {
            IdentityForm::Jwt(name) => Some(name.clone()),
            IdentityForm::Headers | IdentityForm::None => None,
        }));
        names.extend(upstream.credential.iter().flat_map(UpstreamCredential::names));
        // The client's own are read first; whether they go on is decided later.
        names.retain(|name| !is_credential(name) && Some(name) != api_key);
        let names = Protected::new(&names).with_api_key(api_key);
        protected.insert(&upstream.name, Arc::new(names));
    }
    for settings in &config.routes {
        let unknown = || BuildError::Upstream { route: settings.name.clone() };
        let rules = |rules| {
            Rules::build(rules)
                .map_err(|source| BuildError::Rules { route: settings.name.clone(), source })
        };
        let upstream = config.upstreams.iter().find(|one| one.name == settings.upstream);
        let route = Route {
            name: settings.name.as_str().into(),
            pool: parts.pools.get(&settings.upstream).ok_or_else(unknown)?.clone(),
            protected: protected.get(settings.upstream.as_str()).ok_or_else(unknown)?.clone(),
            request_rules: rules(&settings.request_headers)?,
            response_rules: rules(&settings.response_headers)?,
            accept: Accept {
                bearer: settings.auth.contains(&CredentialKind::Bearer),
                token_key: settings.auth.contains(&CredentialKind::TokenKey),
                query: settings.query_credentials,
                api_key: settings.auth.contains(&CredentialKind::ApiKey),
                basic: settings.auth.contains(&CredentialKind::Basic),
                certificate: settings.auth.contains(&CredentialKind::Certificate),
            },
            metrics: shared.metrics.route(&settings.name),
            end: parts.ends.get(&settings.name).ok_or_else(unknown)?.clone(),
            config: settings.clone(),
        };
        let folded = upstream.is_some_and(|upstream| upstream.case_insensitive);
        let place = Placement {
            hosts: &settings.hosts,
            pattern: &Pattern::parse(&settings.path)?,
            methods: &settings.methods,
            allowed: Oddities::allowed(&settings.allow_path),
            folded,
        };
        table.add_route(&place, &Arc::new(route));
    }
    Ok(())
}
