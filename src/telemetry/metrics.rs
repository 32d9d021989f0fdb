//! Counters and histograms, written in the OpenMetrics text format.
//!
//! The handles of a route are resolved when it needs them for the first time, so that a permitted
//! request touches atomics only. Labels come from the configuration and from fixed lists, never
//! from a user, path, token or address: a client could otherwise create series without end. `admin`
//! serves the result.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use super::gauges::Gauges;
use super::histogram::DurationHistogram;
use crate::clock::Timestamp;
use crate::dialect::Reason;

/// The content type of the text that `Metrics::render` returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The methods of RFC 9110 and RFC 5789. The last entry stands for every other method, since a
/// client may send any. The list and the name `_OTHER` follow the conventions of OpenTelemetry.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "_OTHER"];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

pub(super) type Labels = Vec<(&'static str, String)>;

/// The end of an attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    Succeeded,
    Failed,
    Limited,
    Unavailable,
}

/// The end of an attempt to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    Succeeded,
    Refused,
    ReuseDetected,
    Unavailable,
}

/// The fate of the copy of a request. The client never notices any of these: the copy is made
/// beside the request, and its answer is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorResult {
    Answered,
    Failed,
    /// Not copied: the highest number of copies was in progress.
    TooMany,
    /// Not copied: its body is larger than the bound.
    TooLarge,
}

/// The end of an order of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeOrderResult {
    Succeeded,
    Failed,
}

/// Everything that is counted. It outlives reloads, so that counters never go back. A route that a
/// reload removes keeps its series until the process ends. The values are read only when somebody
/// scrapes them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    durations: Family<Labels, DurationHistogram>,
    decisions: Family<Labels, Counter>,
    logins: Family<Labels, Counter>,
    refreshes: Family<Labels, Counter>,
    rate_limited: Family<Labels, Counter>,
    mirrored: Family<Labels, Counter>,
    acme_orders: Family<Labels, Counter>,
    untrusted_forwarded: Counter,
    reloads: Family<Labels, Counter>,
    reload_successful: Gauge,
    reload_succeeded_at: Gauge,
}

impl Metrics {
    /// All metrics, with every counter at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            durations: Family::default(),
            decisions: Family::default(),
            logins: Family::default(),
            refreshes: Family::default(),
            rate_limited: Family::default(),
            mirrored: Family::default(),
            acme_orders: Family::default(),
            untrusted_forwarded: Counter::default(),
            reloads: Family::default(),
            reload_successful: Gauge::default(),
            reload_succeeded_at: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    /// Registers every metric with its name and help. The names are used in dashboards and alerts,
    /// so none of them changes.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register_with_unit(
            "http_server_request_duration",
            "Time from a request's head to its answer's last byte",
            Unit::Seconds,
            self.durations.clone(),
        );
        let own = registry.sub_registry_with_prefix("tollhouse");
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        own.register("build", "The program", Info::new(version));
        own.register("auth_decisions", "Decisions about requests", self.decisions.clone());
        own.register("logins", "Attempts to log in", self.logins.clone());
        own.register("refresh", "Attempts to refresh", self.refreshes.clone());
        own.register("rate_limited", "Requests over a rate limit", self.rate_limited.clone());
        own.register("mirrored", "Requests copied to a mirror, or not", self.mirrored.clone());
        own.register("acme_orders", "Orders of certificates", self.acme_orders.clone());
        own.register(
            "untrusted_forwarded",
            "Requests with forwarding headers from a peer that is not trusted",
            self.untrusted_forwarded.clone(),
        );
        own.register("config_reloads", "Reloads of the configuration", self.reloads.clone());
        own.register(
            "config_last_reload_successful",
            "Whether the last reload succeeded",
            self.reload_successful.clone(),
        );
        own.register_with_unit(
            "config_last_reload_success_timestamp",
            "When a reload last succeeded",
            Unit::Seconds,
            self.reload_succeeded_at.clone(),
        );
    }

    /// The handles of a route, to be kept for as long as the route exists. Every generation asks
    /// for them again. The counters behind them are found by the route's name, so they go on
    /// counting.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics {
            route: name.to_owned(),
            durations: self.durations.clone(),
            decisions: self.decisions.clone(),
            resolved: Default::default(),
            open: OnceLock::new(),
            permitted: OnceLock::new(),
            passed: OnceLock::new(),
            refused: OnceLock::new(),
        })
    }

    /// Counts an attempt to log in at `login`. Attempts that a limit refused are counted as well: a
    /// rising number of them is the first sign that somebody guesses passwords.
    pub fn login(&self, login: &str, result: LoginResult) {
        let result = match result {
            LoginResult::Succeeded => "succeeded",
            LoginResult::Failed => "failed",
            LoginResult::Limited => "limited",
            LoginResult::Unavailable => "unavailable",
        };
        let labels = vec![("login", login.to_owned()), ("result", result.to_owned())];
        self.logins.get_or_create(&labels).inc();
    }

    /// Counts an attempt to refresh.
    pub fn refresh(&self, result: RefreshResult) {
        let result = match result {
            RefreshResult::Succeeded => "succeeded",
            RefreshResult::Refused => "refused",
            RefreshResult::ReuseDetected => "reuse_detected",
            RefreshResult::Unavailable => "unavailable",
        };
        self.refreshes.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// Counts a request that a rate limit of `route` refused. `rule` says by what the limit counts,
    /// such as `client`, so that limits of different kinds on one route are counted separately.
    pub fn rate_limited(&self, route: &str, rule: &str) {
        let labels = vec![("route", route.to_owned()), ("rule", rule.to_owned())];
        self.rate_limited.get_or_create_owned(&labels).inc();
    }

    /// Counts a request of a route that has a mirror.
    pub fn mirrored(&self, route: &str, result: MirrorResult) {
        let result = match result {
            MirrorResult::Answered => "answered",
            MirrorResult::Failed => "failed",
            MirrorResult::TooMany => "too_many",
            MirrorResult::TooLarge => "too_large",
        };
        let labels = vec![("route", route.to_owned()), ("result", result.to_owned())];
        self.mirrored.get_or_create_owned(&labels).inc();
    }

    /// Counts an order of the certificate whose first name is `domain`, which the configuration has.
    pub fn acme_order(&self, domain: &str, result: AcmeOrderResult) {
        let result = match result {
            AcmeOrderResult::Succeeded => "succeeded",
            AcmeOrderResult::Failed => "failed",
        };
        let labels = vec![("domain", domain.to_owned()), ("result", result.to_owned())];
        self.acme_orders.get_or_create_owned(&labels).inc();
    }

    /// Counts a request whose forwarding fields were not believed. True for the first one, so that
    /// it can be logged once. A gateway behind a load balancer that is missing in `trusted_proxies`
    /// is recognised by this count.
    pub fn untrusted_forwarded(&self) -> bool {
        self.untrusted_forwarded.inc() == 0
    }

    /// A sentence for the readiness report, about a count that the operator should look into.
    pub fn note(&self) -> Option<String> {
        let counted = self.untrusted_forwarded.get();
        (counted > 0).then(|| {
            format!(
                "{counted} requests with X-Forwarded-For from peers that are not in trusted_proxies"
            )
        })
    }

    /// Records a reload; the first load of a configuration counts as one. The time of the last
    /// success lets an alert find a gateway that still runs on an old configuration. It is the same
    /// time that a restart sets.
    pub fn reload(&self, ok: bool, now: Timestamp) {
        let result = if ok { "succeeded" } else { "failed" };
        self.reloads.get_or_create(&vec![("result", result.to_owned())]).inc();
        self.reload_successful.set(i64::from(ok));
        if ok {
            self.reload_succeeded_at.set(i64::try_from(now.secs()).unwrap_or(i64::MAX));
        }
    }

    /// All metrics as text, with the gauges as they are now. If they cannot be written, that is
    /// logged and the text is incomplete. The time that it takes is spent by the admin interface,
    /// not by a worker.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        // One end mark closes both registries: they are one exposition to the reader.
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &gauges.registry()))
            .and_then(|()| encode_eof(&mut text));
        if let Err(error) = written {
            tracing::error!(%error, "metrics could not be rendered");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The handles of one route. They are filled in on first use and then need no lock and no search by
/// label. The name of the route is fixed by the configuration, so the number of handles is bounded.
#[derive(Debug)]
pub struct RouteMetrics {
    route: String,
    durations: Family<Labels, DurationHistogram>,
    decisions: Family<Labels, Counter>,
    /// By method and class of the status. Filled on first use, so that series without a value are
    /// not exposed.
    resolved: [[OnceLock<DurationHistogram>; CLASSES.len()]; METHODS.len()],
    open: OnceLock<Counter>,
    permitted: OnceLock<Counter>,
    passed: OnceLock<Counter>,
    /// By reason, in the order of `Reason::ALL`; allocated with the first refusal of the route.
    refused: OnceLock<Box<[OnceLock<Counter>]>>,
}

impl RouteMetrics {
    /// The route's name.
    pub fn name(&self) -> &str {
        &self.route
    }

    /// Records an answered request.
    pub fn request(&self, method: &Method, status: u16, duration: Duration) {
        // A method that is not in the list is counted as the last entry. A client could otherwise
        // create a new series with every invented method.
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let method = known.unwrap_or(METHODS.len() - 1);
        let class = match status {
            100..=599 => usize::from(status / 100 - 1),
            _ => CLASSES.len() - 1,
        };
        let handle = self.resolved.get(method).and_then(|classes| classes.get(class));
        // Both indices are within the arrays by construction. The other branch only avoids a panic.
        let (Some(handle), Some(method), Some(class)) =
            (handle, METHODS.get(method), CLASSES.get(class))
        else {
            return;
        };
        let resolve = || {
            self.durations.get_or_create_owned(&vec![
                ("http_route", self.route.clone()),
                ("http_request_method", (*method).to_owned()),
                ("http_response_status_class", (*class).to_owned()),
            ])
        };
        handle.get_or_init(resolve).observe(duration);
    }

    /// Counts a request that needed no credential.
    pub fn open(&self) {
        self.open.get_or_init(|| self.decision("permitted", "open")).inc();
    }

    /// Counts a request that the route permits.
    pub fn permitted(&self) {
        self.permitted.get_or_init(|| self.decision("permitted", "permitted")).inc();
    }

    /// Counts a request whose credential only the upstream can verify. It is counted as permitted,
    /// with a reason of its own, so that an operator sees how many requests nobody here has
    /// verified.
    pub fn passed(&self) {
        self.passed.get_or_init(|| self.decision("permitted", "passed")).inc();
    }

    /// Counts a refusal for this reason. The counter is found by the reason's number. A route that
    /// never refuses anybody has no such counters.
    pub fn refused(&self, reason: Reason) {
        let every = || Reason::ALL.iter().map(|_| OnceLock::new()).collect();
        if let Some(handle) = self.refused.get_or_init(every).get(reason as usize) {
            handle.get_or_init(|| self.decision("refused", reason.code())).inc();
        }
    }

    /// The counter of one decision, found by its labels. Route, result and reason are its labels.
    /// The search takes a lock, so the result is kept by the caller. Counters are created when they
    /// are needed for the first time.
    fn decision(&self, result: &str, reason: &str) -> Counter {
        self.decisions.get_or_create_owned(&vec![
            ("route", self.route.clone()),
            ("result", result.to_owned()),
            ("reason", reason.to_owned()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_told_under_its_name() {
        let metrics = Metrics::new();
        let route = metrics.route("api");
        route.request(&Method::GET, 200, Duration::from_millis(7));
        route.request(&Method::from_bytes(b"PURGE").unwrap(), 499, Duration::ZERO);
        route.open();
        route.permitted();
        route.refused(Reason::TokenExpired);
        metrics.login("main", LoginResult::Failed);
        metrics.rate_limited("api", "client");
        metrics.mirrored("api", MirrorResult::TooLarge);
        metrics.refresh(RefreshResult::ReuseDetected);
        metrics.acme_order("api.test", AcmeOrderResult::Failed);
        assert!(metrics.untrusted_forwarded());
        metrics.reload(true, Timestamp::from_secs(1_000));

        let text = metrics.render(&Gauges::default());

        for line in [
            r#"http_server_request_duration_seconds_bucket{le="0.01",http_route="api",http_request_method="GET",http_response_status_class="2xx"} 1"#,
            r#"http_server_request_duration_seconds_count{http_route="api",http_request_method="_OTHER",http_response_status_class="4xx"} 1"#,
            r#"tollhouse_auth_decisions_total{route="api",result="permitted",reason="permitted"} 1"#,
            r#"tollhouse_auth_decisions_total{route="api",result="refused",reason="token_expired"} 1"#,
            r#"tollhouse_logins_total{login="main",result="failed"} 1"#,
            r#"tollhouse_refresh_total{result="reuse_detected"} 1"#,
            r#"tollhouse_rate_limited_total{route="api",rule="client"} 1"#,
            r#"tollhouse_mirrored_total{route="api",result="too_large"} 1"#,
            r#"tollhouse_acme_orders_total{domain="api.test",result="failed"} 1"#,
            "tollhouse_untrusted_forwarded_total 1",
            r#"tollhouse_config_reloads_total{result="succeeded"} 1"#,
            "tollhouse_config_last_reload_successful 1",
            "tollhouse_config_last_reload_success_timestamp_seconds 1000",
            concat!("tollhouse_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_label_cannot_end_its_line() {
        let metrics = Metrics::new();

        metrics.login("a\"} 1\nforged 1\\", LoginResult::Succeeded);

        let text = metrics.render(&Gauges::default());
        assert!(text.contains(r#"{login="a\"} 1\nforged 1\\",result="succeeded"} 1"#), "{text}");
    }
}
