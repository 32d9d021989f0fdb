//! Builds the route table of a generation: the endpoints of every login, and every route.
//!
//! Names are resolved here, so that a request needs no look-up by name. This file also computes
//! which header fields clients may not send on a route. Errors should not occur for a checked
//! configuration; each of them names the route.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::HeaderName;
use tokio::sync::Semaphore;

use super::route_cancellation::RouteCancellations;
use super::{BuildError, LoginEndpoint, RouteMirror, RouteTarget, ServedRoute, SharedState};
use crate::authn::{AcceptedKinds, CallCarriers, SignatureVerifier, Verifier};
use crate::headers::{HeaderEdits, ReservedHeaders, is_credential};
use crate::login::{self, Login, LoginServices};
use crate::routing::{LoginEntry, PathAnomalies, Pattern, RouteEntry, RouteTable};
use crate::settings::{
    self, Config, CredentialKind, IdentityForm, RouteAction, UpstreamCredential,
};
use crate::throttle::RateLimiter;
use crate::upstream::UpstreamPool;

pub(crate) type GatewayTable = RouteTable<LoginEndpoint, Arc<ServedRoute>>;

/// Upper bound on copies of one route's requests in progress. A mirror that stalls costs their
/// memory and their connections, and nothing more. Beyond it requests are forwarded without being
/// copied, which is counted.
const MIRRORED_AT_ONCE: usize = 64;

/// The parts of a generation that routes refer to.
#[derive(Clone, Copy)]
pub(super) struct BuildContext<'a> {
    pub(super) pools: &'a HashMap<String, Arc<UpstreamPool>>,
    pub(super) throttle: &'a RateLimiter,
    pub(super) cancellations: &'a RouteCancellations,
}

/// Adds every endpoint of every login, under each of its hosts.
pub(super) fn add_logins(
    table: &mut GatewayTable,
    shared: &SharedState,
    config: &Config,
    services: &Arc<LoginServices>,
    verifier: &Arc<Verifier>,
) {
    for settings in &config.logins {
        let about = login::exchange_values(settings, &config.issuers);
        let login = Arc::new(Login {
            config: settings::LoginSettings { about, ..settings.clone() },
            services: services.clone(),
            verifier: verifier.clone(),
        });
        // All endpoints of a login share one set of metrics. A route with the same name would
        // look the same, so the prefix has a character that no name of a section may have.
        // Operators see a login as one thing.
        let metrics = shared.metrics.route(&format!("login:{}", settings.name));
        for (number, endpoint) in settings.dialect.endpoints.iter().enumerate() {
            // Of endpoints with one path, the login chooses by the request.
            let first = settings.dialect.siblings(number).next();
            if first.is_some_and(|(first, _)| first != number) {
                continue;
            }
            let path = format!("{}{}", settings.prefix, endpoint.path);
            let entry = LoginEndpoint { login: login.clone(), number, metrics: metrics.clone() };
            let mut siblings = settings.dialect.siblings(number);
            let falls_through = siblings.any(|(_, endpoint)| endpoint.falls_through());
            let hosts = settings.hosts.as_slice();
            let path = path.as_str();
            let method = &endpoint.method;
            table.add_login(&LoginEntry { hosts, path, method, falls_through }, &entry);
        }
    }
}

/// Adds every route. The order of the routes has no meaning: the table finds the closest match.
pub(super) fn add_routes(
    table: &mut GatewayTable,
    shared: &SharedState,
    config: &Config,
    context: &BuildContext<'_>,
) -> Result<(), BuildError> {
    // Computed once for all routes, since it depends on what other routes set.
    let protected = ReservedNames::of(config);
    let signatures = SignatureVerifier::all(config, shared.store.revocations());
    for settings in &config.routes {
        let carriers = CallCarriers::new(config, settings, &signatures);
        let unknown = || BuildError::Upstream { route: settings.name.clone() };
        let rules = |rules| {
            HeaderEdits::build(rules)
                .map_err(|source| BuildError::Rules { route: settings.name.clone(), source })
        };
        let route = ServedRoute {
            name: settings.name.as_str().into(),
            action: match &settings.action {
                RouteAction::Forward(to) => {
                    RouteTarget::Forward(context.pools.get(to).ok_or_else(unknown)?.clone())
                }
                RouteAction::Redirect(redirect) => RouteTarget::Redirect(redirect.clone()),
                RouteAction::Respond(respond) => RouteTarget::Respond(respond.clone()),
            },
            protected: protected.for_route(settings, &carriers).ok_or_else(unknown)?,
            request_rules: rules(&settings.request_headers)?,
            response_rules: rules(&settings.response_headers)?,
            accept: AcceptedKinds {
                bearer: settings.auth.contains(&CredentialKind::Bearer),
                token_key: settings.auth.contains(&CredentialKind::TokenKey),
                query: settings.query_credentials,
                api_key: settings.auth.contains(&CredentialKind::ApiKey),
                basic: settings.auth.contains(&CredentialKind::Basic),
                certificate: settings.auth.contains(&CredentialKind::Certificate),
            },
            carriers,
            limits: context.throttle.limits(settings),
            mirror: mirror(settings, context.pools).map_err(|()| unknown())?,
            metrics: shared.metrics.route(&settings.name),
            end: context.cancellations.get(&settings.name).ok_or_else(unknown)?.clone(),
            config: settings.clone(),
        };
        let place = RouteEntry {
            hosts: &settings.hosts,
            pattern: &Pattern::parse(&settings.path)?,
            methods: &settings.methods,
            allowed: PathAnomalies::allowed(&settings.allow_path),
            case_insensitive: settings.case_insensitive,
        };
        table
            .add_route(&place, &Arc::new(route))
            .map_err(|source| BuildError::Ambiguous { route: settings.name.clone(), source })?;
    }
    Ok(())
}

/// The mirror of a route, if it has one. The error means that its upstream does not exist.
fn mirror(
    route: &settings::RouteSettings,
    pools: &HashMap<String, Arc<UpstreamPool>>,
) -> Result<Option<Arc<RouteMirror>>, ()> {
    let Some(config) = route.mirror.clone() else { return Ok(None) };
    let pool = pools.get(&config.upstream).ok_or(())?.clone();
    let places = Arc::new(Semaphore::new(MIRRORED_AT_ONCE));
    Ok(Some(Arc::new(RouteMirror { config, pool, places })))
}

/// The header fields that clients may not send.
///
/// A field by which some server trusts the gateway must not come from a client, whichever upstream
/// section it belongs to: one server may be in two sections, with other time-outs or another
/// protocol.
struct ReservedNames<'a> {
    config: &'a Config,
    /// The fields that are sent to any upstream at all.
    everywhere: Vec<HeaderName>,
    made: HashMap<&'a str, Arc<ReservedHeaders>>,
    api_key: Option<&'a HeaderName>,
}

impl<'a> ReservedNames<'a> {
    fn of(config: &'a Config) -> Self {
        let api_key = config.api_key_header();
        let made = HashMap::new();
        let mut protection = Self { config, everywhere: Vec::new(), made, api_key };
        let all = config.upstreams.iter().flat_map(|upstream| protection.names_of(upstream));
        let mut everywhere: Vec<HeaderName> = all.filter(|name| !is_ordinary(name)).collect();
        everywhere.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        everywhere.dedup();
        protection.everywhere = everywhere;
        for upstream in &config.upstreams {
            let made = Arc::new(protection.make([upstream]));
            protection.made.insert(&upstream.name, made);
        }
        protection
    }

    /// Every field that some route to this upstream sets, and those of the upstream's own
    /// credential. Names of credentials are left out.
    fn names_of(&self, upstream: &settings::UpstreamSettings) -> Vec<HeaderName> {
        let mut routes = self.config.routes.iter();
        let routes = routes.by_ref().filter(|route| route.upstream() == Some(&upstream.name));
        let mut names: Vec<HeaderName> = Vec::new();
        for route in routes {
            names.extend(route.request_headers.set.iter().map(|(name, _)| name.clone()));
            if let IdentityForm::Jwt(name) = &route.identity {
                names.push(name.clone());
            }
        }
        names.extend(upstream.credential.iter().flat_map(UpstreamCredential::names));
        // The client's credentials are read before; whether they are forwarded is decided later.
        names.retain(|name| !is_credential(name) && Some(name) != self.api_key);
        names
    }

    /// The protection for these upstreams: the fields sent to any upstream, and those sent to these
    /// ones.
    fn make<'u>(
        &self,
        upstreams: impl IntoIterator<Item = &'u settings::UpstreamSettings>,
    ) -> ReservedHeaders {
        let mut names = self.everywhere.clone();
        for upstream in upstreams {
            let own = self.names_of(upstream).into_iter().filter(is_ordinary);
            names.extend(own);
        }
        ReservedHeaders::new(&names).with_credentials(self.api_key)
    }

    /// The protection for the upstream of a route, and for its mirror, which gets a copy.
    fn for_route(
        &self,
        route: &settings::RouteSettings,
        carriers: &CallCarriers,
    ) -> Option<Arc<ReservedHeaders>> {
        let tokens: Vec<&HeaderName> = carriers.fields().collect();
        let Some(main) = route.upstream() else {
            // Nothing of the client is forwarded, so only its token has to be let in.
            return Some(Arc::new(ReservedHeaders::default().with_credentials(tokens)));
        };
        let shared = self.made.get(main)?;
        // Most routes to one upstream have the same protection and share it.
        if route.mirror.is_none() && route.allow_headers.is_empty() && tokens.is_empty() {
            return Some(shared.clone());
        }
        let mirror = route.mirror.as_ref().map(|mirror| mirror.upstream.as_str());
        let upstreams = self.config.upstreams.iter();
        let upstreams = upstreams.filter(|one| one.name == main || Some(&*one.name) == mirror);
        let made = self.make(upstreams).with_credentials(tokens);
        Some(Arc::new(made.allowing(&route.allow_headers)))
    }
}

/// True for fields with which every client states what it wants, such as `Accept`. No server trusts
/// a client because of them. A route that sets one is therefore no reason to remove it from
/// requests to other upstreams.
fn is_ordinary(name: &HeaderName) -> bool {
    const NAMES: [&str; 11] = [
        "cache-control",
        "cookie",
        "date",
        "expect",
        "origin",
        "pragma",
        "prefer",
        "priority",
        "range",
        "referer",
        "user-agent",
    ];
    const PREFIXES: [&str; 4] = ["accept", "content-", "if-", "sec-"];
    let name = name.as_str();
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
