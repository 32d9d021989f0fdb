//! One configuration, made ready to serve: routes, logins, pools, verifier and limits.
//!
//! Parts that a reload leaves unchanged are handed on by the last generation, with their
//! connections, caches and counters. Building never changes the last generation: if anything fails,
//! the new one is dropped and nothing has happened.

use std::collections::HashMap;
use std::sync::Arc;

use super::hosts::{host_forms, is_served};
use super::route_cancellation::{PriorRoutes, RouteCancellations, route_ends};
use super::sources::{open_legacy_sessions, open_users};
use super::table::{BuildContext, GatewayTable, add_logins, add_routes};
use super::{BuildError, SharedState};
use crate::admission::AttemptLimit;
use crate::authn::{
    ApiKeyVerifier, CertificateVerifier, ForwardedCertificates, Verifier, VerifierOptions,
};
use crate::clock::Clock;
use crate::dialect::ErrorFormat;
use crate::login::{CodeMailer, ExchangeRule, LoginServices};
use crate::routing::RouteTable;
use crate::runtime::BackgroundRuntime;
use crate::secret::Digest;
use crate::settings::{self, Config};
use crate::telemetry::metrics::RouteMetrics;
use crate::throttle::{GcraRate, RateCounters, RateLimiter};
use crate::token::UpstreamTokens;
use crate::upstream::UpstreamPool;
use crate::users::{LegacySessions, UserSource, UserSources};

const HTTPS_PORT: u16 = 443;
/// Upper bound on users whose new sessions are counted. Beyond it, those who began the fewest
/// sessions are forgotten.
const MOST_USERS: usize = 100_000;

/// One configuration, ready to serve. It is never changed after it was built. Requests hold it by
/// an `Arc`, so an old generation ends with its last request.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) config: Config,
    pub(crate) table: GatewayTable,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) services: Arc<LoginServices>,
    pub(crate) certificates: CertificateVerifier,
    /// By the name of the listener, where proxies tell the certificates of their clients.
    pub(crate) forwarded_certificates: HashMap<String, Arc<ForwardedCertificates>>,
    pub(crate) upstream_tokens: Arc<UpstreamTokens>,
    pub(crate) pools: HashMap<String, Arc<UpstreamPool>>,
    /// Handed on by a reload, for the rules that stay the same.
    pub(crate) throttle: RateLimiter,
    pub(super) route_ends: RouteCancellations,
    forms: Vec<(String, Arc<ErrorFormat>)>,
    problem: Arc<ErrorFormat>,
    /// Metrics of requests that match no route and no login.
    pub(crate) unmatched_metrics: Arc<RouteMetrics>,
    /// The port to which a plain listener redirects, if it is not the default port of https.
    pub(crate) https_port: Option<u16>,
}

/// The parts of a generation that serve its requests and may outlive it. A dry run has its own.
pub(super) struct GenerationParts {
    pub(super) verifier: Verifier,
    pub(super) users: UserSources,
    pub(super) mailer: Option<CodeMailer>,
    pub(super) pools: HashMap<String, Arc<UpstreamPool>>,
    pub(super) throttle: RateLimiter,
    pub(super) legacy: Option<Arc<LegacySessions>>,
    /// The number of the generation.
    pub(super) number: u64,
}

/// The pools of a configuration that is not in effect yet, with their servers checked once. For a
/// start whose clients are waiting: nothing that takes long is left to do for it.
#[derive(Debug, Default)]
pub(crate) struct ReadyPools(HashMap<String, Arc<UpstreamPool>>);

impl ReadyPools {
    /// Builds the pools of `config`, and waits until every server was checked, or the time for that
    /// is over. Blocks.
    ///
    /// # Errors
    /// A pool cannot be built.
    pub(crate) fn build(
        config: &Config,
        clock: &Clock,
        background: &BackgroundRuntime,
    ) -> Result<Self, BuildError> {
        let mut pools = HashMap::new();
        for upstream in &config.upstreams {
            let pool = UpstreamPool::build(upstream, config.process.workers, clock)?;
            pool.watch(background);
            pools.insert(upstream.name.clone(), pool);
        }
        background.handle().block_on(checked_once(&pools));
        Ok(Self(pools))
    }
}

async fn checked_once(pools: &HashMap<String, Arc<UpstreamPool>>) {
    for pool in pools.values() {
        pool.checked_once().await;
    }
}

impl Generation {
    /// Makes `config` ready. Unchanged parts are taken over from `last`. `ready` are pools of
    /// `config` that were built before.
    pub(super) fn build(
        shared: &SharedState,
        config: Config,
        last: Option<&Self>,
        ready: ReadyPools,
    ) -> Result<Self, BuildError> {
        // The verifier takes over the keys and verdicts of issuers from the last generation.
        // Otherwise every reload would send all tokens to be verified anew. A verdict is taken over
        // only if its issuer has the same configuration.
        let verifier = build_verifier(shared, &config, config.token.cache_size, last)?;
        for warning in verifier.warnings() {
            tracing::warn!("{warning}");
        }
        let parts = GenerationParts {
            verifier,
            users: open_users(shared, &config, |source| last?.kept_source(source))?,
            mailer: config.mail.as_ref().map(CodeMailer::new).transpose()?,
            pools: build_pools(shared, &config, last, ready)?,
            throttle: RateLimiter::build(&config, last.map(|last| &last.throttle)),
            legacy: open_legacy_sessions(
                shared,
                &config,
                last.and_then(|last| last.services.legacy.as_deref()),
            )?,
            number: last.map_or(0, |last| last.services.number + 1),
        };
        Self::assemble(shared, config, parts, last)
    }

    /// Puts a generation together. Nothing in it connects to anything.
    pub(super) fn assemble(
        shared: &SharedState,
        config: Config,
        parts: GenerationParts,
        last: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let GenerationParts { verifier, users, mailer, pools, throttle, legacy, number } = parts;
        let verifier = Arc::new(verifier);
        let begun = count_begun(&config, last);
        let services = Arc::new(LoginServices {
            users: Arc::new(users),
            store: shared.store.clone(),
            ring: shared.ring.clone(),
            streams: shared.cancellations.streams.clone(),
            audit: shared.audit.clone(),
            metrics: shared.metrics.clone(),
            limits: config.login_limits.clone(),
            attempts: shared.attempts.clone(),
            program_attempts: shared.program_attempts.clone(),
            mailer,
            exchange_rules: ExchangeRule::all(&config),
            password_cache: shared.password_cache.clone(),
            api_keys: Arc::new(ApiKeyVerifier::new(&config, shared.store.revocations().clone())),
            number,
            in_effect: shared.services.clone(),
            begun,
            legacy,
        });
        let upstream_tokens = Arc::new(UpstreamTokens::new(
            shared.ring.clone(),
            config.token.issuer.clone(),
            config.token.algorithm,
        ));
        // Logins are added before routes: an endpoint of a login goes before a route of the same
        // path.
        let mut table = RouteTable::new();
        add_logins(&mut table, shared, &config, &services, &verifier);
        let route_ends = route_ends(&shared.cancellations, &config, last.map(Self::prior_routes));
        let context =
            BuildContext { pools: &pools, throttle: &throttle, cancellations: &route_ends };
        add_routes(&mut table, shared, &config, &context)?;
        Ok(Self {
            table,
            forms: host_forms(&config),
            problem: ErrorFormat::problem(),
            unmatched_metrics: shared.metrics.route("-"),
            https_port: Self::https_port(&config),
            verifier,
            services,
            certificates: CertificateVerifier::new(&config.certificates),
            forwarded_certificates: forwarded_certificates(&config, last)?,
            upstream_tokens,
            pools,
            throttle,
            route_ends,
            config,
        })
    }

    fn prior_routes(&self) -> PriorRoutes<'_> {
        PriorRoutes { config: &self.config, ends: &self.route_ends }
    }

    /// The source of this generation with the same configuration.
    fn kept_source(&self, source: &settings::SourceSettings) -> Option<&Arc<dyn UserSource>> {
        let is_same = self.config.users.contains(source);
        self.services.users.named(&source.name).filter(|_| is_same)
    }

    /// The digests that identify API keys and holders of certificates among the streams.
    pub(super) fn credentials(&self) -> impl Iterator<Item = Digest> {
        self.services.api_keys.digests().chain(self.certificates.digests())
    }

    /// Returns when every upstream with health checks has been checked once, or its time for that
    /// is over. The wait is bounded by the time-outs of the checks.
    pub(crate) async fn checked_once(&self) {
        checked_once(&self.pools).await;
    }

    /// The listener of this name.
    pub(crate) fn listener(&self, name: &str) -> Option<&settings::ListenerSettings> {
        self.config.listeners.iter().find(|listener| listener.name == name)
    }

    /// Upstreams whose certificates are not verified.
    pub(crate) fn unverified_upstreams(&self) -> impl Iterator<Item = &str> {
        let upstreams = self.config.upstreams.iter();
        upstreams.filter(|one| one.tls.insecure_skip_verify).map(|one| one.name.as_str())
    }

    /// True if a login or a route names this host, or accepts all hosts.
    pub(crate) fn is_configured_host(&self, host: &str) -> bool {
        let logins = self.config.logins.iter().flat_map(|login| &login.hosts);
        let routes = self.config.routes.iter().flat_map(|route| &route.hosts);
        logins.chain(routes).any(|pattern| is_served(pattern, host))
    }

    /// The port in an https URL of this gateway: that of the first TLS listener, if it is not the
    /// default port. A unix socket or a passed descriptor has no port that clients could know.
    fn https_port(config: &Config) -> Option<u16> {
        let mut encrypted = config.listeners.iter().filter(|listener| listener.tls.is_some());
        encrypted
            .find_map(|listener| match listener.bind {
                settings::BindAddress::Tcp(address) => Some(address.port()),
                settings::BindAddress::Unix(_) | settings::BindAddress::Descriptor(_) => None,
            })
            // Port 0 is chosen by the system, which only tests use.
            .filter(|port| ![0, HTTPS_PORT].contains(port))
    }

    /// The form of an error answer if no route decides it: the form of the only dialect that is
    /// served on this host, else problem+json (RFC 9457). With several dialects on the host, it
    /// would be a guess which one the client understands.
    pub(crate) fn form_for<'h>(&self, host: impl FnOnce() -> Option<&'h str>) -> &Arc<ErrorFormat> {
        if self.forms.is_empty() {
            return &self.problem;
        }
        let host = host();
        let mut served = self.forms.iter().filter(|(pattern, _)| {
            pattern == "*" || host.is_some_and(|host| is_served(pattern, host))
        });
        match (served.next(), served.next()) {
            (Some((_, form)), None) => form,
            _ => &self.problem,
        }
    }
}

/// The verifier of a generation, with a cache of `cache_size` tokens. The keys and verdicts of
/// issuers with the same configuration are those of `last`.
pub(super) fn build_verifier(
    shared: &SharedState,
    config: &Config,
    cache_size: usize,
    last: Option<&Generation>,
) -> Result<Verifier, BuildError> {
    Ok(Verifier::new(VerifierOptions {
        ring: shared.ring.clone(),
        logins: &config.logins,
        issuers: &config.issuers,
        revocations: shared.store.revocations().clone(),
        store: shared.store.clone(),
        leeway: config.token.leeway,
        cache_size,
        refusals: AttemptLimit {
            attempts: config.login_limits.per_address.attempts,
            per: config.login_limits.per_address.per,
        },
        last: last.map(|last| &*last.verifier),
    })?)
}

/// The counters of new sessions: those of the last generation, if the limit is the same.
fn count_begun(config: &Config, last: Option<&Generation>) -> Arc<RateCounters> {
    let limit = config.login_limits.new_sessions_per_user;
    let rate = GcraRate::of(limit.attempts, limit.per);
    let kept = last.map(|last| &last.services.begun).filter(|begun| begun.has_rate(rate));
    kept.cloned().unwrap_or_else(|| Arc::new(RateCounters::new(rate, MOST_USERS)))
}

/// The certificates that proxies tell. Those of a listener with the same settings are those of `last`,
/// so that a reload verifies nothing anew.
fn forwarded_certificates(
    config: &Config,
    last: Option<&Generation>,
) -> Result<HashMap<String, Arc<ForwardedCertificates>>, BuildError> {
    let mut all = HashMap::new();
    for listener in &config.listeners {
        let Some(settings) = &listener.forwarded_certificate else { continue };
        let kept = last.and_then(|last| last.forwarded_certificates.get(&listener.name));
        let kept = kept.filter(|kept| kept.is_for(settings)).cloned();
        let failed =
            |source| BuildError::ClientAuthority { listener: listener.name.clone(), source };
        let made = || ForwardedCertificates::new(settings).map(Arc::new).map_err(failed);
        all.insert(listener.name.clone(), kept.map_or_else(made, Ok)?);
    }
    Ok(all)
}

/// Builds the pools. A pool whose configuration did not change keeps its connections. A changed one
/// takes over what is known about its servers, so that a failing server does not get all its
/// traffic back.
fn build_pools(
    shared: &SharedState,
    config: &Config,
    last: Option<&Generation>,
    mut ready: ReadyPools,
) -> Result<HashMap<String, Arc<UpstreamPool>>, BuildError> {
    let mut pools = HashMap::new();
    for upstream in &config.upstreams {
        let kept = last
            .filter(|last| last.config.upstreams.contains(upstream))
            .and_then(|last| last.pools.get(&upstream.name).cloned())
            .or_else(|| ready.0.remove(&upstream.name));
        let pool = match kept {
            Some(pool) => pool,
            None => {
                let pool = UpstreamPool::build(upstream, shared.workers, &shared.clock)?;
                if let Some(last) = last.and_then(|last| last.pools.get(&upstream.name)) {
                    pool.inherit(last);
                }
                pool.watch(&shared.background);
                pool
            }
        };
        pools.insert(upstream.name.clone(), pool);
    }
    Ok(pools)
}
