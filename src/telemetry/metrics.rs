//! Counters and histograms, told in the OpenMetrics text format.
//!
//! A route's handles are resolved when it first needs them, so that a request that is let
//! through touches atomics only. Labels come from the configuration and from fixed lists: never
//! a user, path, token or address.

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
use super::histogram::Durations;
use crate::clock::Timestamp;
use crate::dialect::Reason;

/// The content type of what `Metrics::render` gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The methods of RFC 9110 and RFC 5789; the last stands for any other.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "_OTHER"];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

pub(super) type Labels = Vec<(&'static str, String)>;

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    Succeeded,
    Failed,
    Limited,
    Unavailable,
}

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    Succeeded,
    Refused,
    ReuseDetected,
    Unavailable,
}

/// What became of the copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorResult {
    Answered,
    Failed,
    /// Not copied: as many as may be were under way.
    TooMany,
    /// Not copied: its body was larger than is kept.
    TooLarge,
}

/// Everything that is counted; outlives generations.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    durations: Family<Labels, Durations>,
    decisions: Family<Labels, Counter>,
    logins: Family<Labels, Counter>,
    refreshes: Family<Labels, Counter>,
    rate_limited: Family<Labels, Counter>,
    mirrored: Family<Labels, Counter>,
    untrusted_forwarded: Counter,
    reloads: Family<Labels, Counter>,
    reload_successful: Gauge,
    reload_succeeded_at: Gauge,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            durations: Family::default(),
            decisions: Family::default(),
            logins: Family::default(),
            refreshes: Family::default(),
            rate_limited: Family::default(),
            mirrored: Family::default(),
            untrusted_forwarded: Counter::default(),
            reloads: Family::default(),
            reload_successful: Gauge::default(),
            reload_succeeded_at: Gauge::default(),
        };
        metrics.register();
        metrics
    }

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

    /// The handles of a route, to be kept as long as the route.
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

    /// Counts an attempt to log in at `login`.
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

    /// Counts a request that was one too many for a rule of `route`.
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

    /// Counts a request whose forwarding headers were not believed; true for the first.
    pub fn untrusted_forwarded(&self) -> bool {
        self.untrusted_forwarded.inc() == 0
    }

    /// What readiness should mention of what was counted.
    pub fn note(&self) -> Option<String> {
        let counted = self.untrusted_forwarded.get();
        (counted > 0).then(|| {
            format!(
                "{counted} requests with X-Forwarded-For from peers that are not in trusted_proxies"
            )
        })
    }

    /// Notes a reload, the first load included.
    pub fn reload(&self, ok: bool, now: Timestamp) {
        let result = if ok { "succeeded" } else { "failed" };
        self.reloads.get_or_create(&vec![("result", result.to_owned())]).inc();
        self.reload_successful.set(i64::from(ok));
        if ok {
            self.reload_succeeded_at.set(i64::try_from(now.secs()).unwrap_or(i64::MAX));
        }
    }

    /// Everything as text, with the gauges as they are now.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
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

/// The handles of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    route: String,
    durations: Family<Labels, Durations>,
    decisions: Family<Labels, Counter>,
    /// By method and class; filled when first used, so that unused series are not told.
    resolved: [[OnceLock<Durations>; CLASSES.len()]; METHODS.len()],
    open: OnceLock<Counter>,
    permitted: OnceLock<Counter>,
    passed: OnceLock<Counter>,
    /// By reason, in the order of `Reason::ALL`; made with the first refusal.
    refused: OnceLock<Box<[OnceLock<Counter>]>>,
}

impl RouteMetrics {
    /// The route's name.
    pub fn name(&self) -> &str {
        &self.route
    }

    /// Observes an answered request.
    pub fn request(&self, method: &Method, status: u16, duration: Duration) {
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let method = known.unwrap_or(METHODS.len() - 1);
        let class = match status {
            100..=599 => usize::from(status / 100 - 1),
            _ => CLASSES.len() - 1,
        };
        let handle = self.resolved.get(method).and_then(|classes| classes.get(class));
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

    /// Counts a request whose credential was good for the route.
    pub fn permitted(&self) {
        self.permitted.get_or_init(|| self.decision("permitted", "permitted")).inc();
    }

    /// Counts a request whose credential only the upstream can verify.
    pub fn passed(&self) {
        self.passed.get_or_init(|| self.decision("permitted", "passed")).inc();
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        let every = || Reason::ALL.iter().map(|_| OnceLock::new()).collect();
        if let Some(handle) = self.refused.get_or_init(every).get(reason as usize) {
            handle.get_or_init(|| self.decision("refused", reason.code())).inc();
        }
    }

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
