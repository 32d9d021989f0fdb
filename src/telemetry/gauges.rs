//! Values that are looked up when metrics are scraped, instead of being counted as they change.
//!
//! The values live where they are used, in pools, listeners and sinks. A scrape collects them, so
//! there is no second copy that could differ from the first. `admin` fills in the struct, and
//! `Metrics::render` writes it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::Labels;
use crate::clock::Timestamp;

/// The state of the gateway at one moment. Each field becomes one metric or one family of metrics;
/// where a field is a list of tuples, the comment names their parts in order. The parts are not
/// read at the same instant, so sums over several metrics may be off by one.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    pub connections: usize,
    pub refused_connections: u64,
    pub handshake_failures: u64,
    /// Upstream, server, state, requests in flight, idle connections, failed requests.
    pub upstreams: Vec<(String, String, &'static str, usize, usize, u64)>,
    /// Every state that a server may have. The first is the state of a healthy server. The list is
    /// needed because each state is a series, also the states that no server has at present.
    pub upstream_states: &'static [&'static str],
    /// Upstream, requests that were sent again, requests that were not sent again because the retry
    /// budget was used up. Both counts grow since the pool was built.
    pub retries: Vec<(String, u64, u64)>,
    /// Upstream, server, requests that wait for one of its limited connections.
    pub queues: Vec<(String, String, usize)>,
    /// Upstreams whose certificates are not verified.
    pub unverified_upstreams: Vec<String>,
    pub streams: usize,
    pub revocations: usize,
    pub verified_tokens: usize,
    /// Callers that rate limits count at present.
    pub throttled: usize,
    pub hashing_waiting: usize,
    /// Bytes of request bodies in memory.
    pub body_memory: usize,
    /// Signed requests that are remembered, so that none is accepted twice.
    pub remembered_signatures: usize,
    /// Scheme of a weak password hash, and how often a password was verified with one.
    pub weak_logins: Vec<(&'static str, u64)>,
    pub log_lines_dropped: u64,
    pub store_up: bool,
    /// With a shared store: until when this gateway knows every revocation of other gateways, true
    /// if that is too long ago to accept a credential, and the number of revocations that wait to
    /// be written.
    pub shared_store: Option<(Timestamp, bool, usize)>,
    pub draining: bool,
    pub certificates_not_after: Vec<(String, Timestamp)>,
    /// Listener, and true if it serves the certificates that are in its files.
    pub certificates_current: Vec<(String, bool)>,
    /// Issuer; true if it is asked about each token, false if keys are fetched from it; how often
    /// that succeeded and failed; the time of the last success. An issuer whose keys are in the
    /// configuration is not listed.
    pub issuers: Vec<(String, bool, u64, u64, Option<Timestamp>)>,
}

impl Gauges {
    /// A registry with the values as they are now. It is made for one scrape and then dropped. The
    /// counters in it begin at zero, and get the values that were counted elsewhere.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("tollhouse");
        for (name, help, value) in [
            ("connections", "Open client connections", self.connections),
            ("streams", "Open streams and tunnels", self.streams),
            ("revocations", "Revocations in memory", self.revocations),
            ("verified_tokens", "Verified tokens in memory", self.verified_tokens),
            ("rate_limit_keys", "Callers that rate limits tell apart", self.throttled),
            ("password_hashing_waiting", "Logins that wait for hashing", self.hashing_waiting),
            ("body_memory_bytes", "Request bodies in memory", self.body_memory),
            ("remembered_signatures", "Signed requests in memory", self.remembered_signatures),
            ("store_up", "Whether the store can be written", usize::from(self.store_up)),
            ("draining", "Whether the gateway is going down", usize::from(self.draining)),
        ] {
            registry.register(name, help, gauge(value));
        }
        for (name, help, value) in [
            ("connections_refused", "Connections refused at once", self.refused_connections),
            ("tls_handshake_failures", "TLS handshakes that failed", self.handshake_failures),
            ("log_lines_dropped", "Log lines lost", self.log_lines_dropped),
        ] {
            // A new counter is at zero, so adding the whole value once sets it. These are counters
            // and no gauges, because readers compute rates of them and expect values that never
            // fall.
            let counter = <Counter>::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        }
        let weak = Family::<Labels, Counter>::default();
        for (scheme, count) in &self.weak_logins {
            weak.get_or_create(&vec![("scheme", (*scheme).to_owned())]).inc_by(*count);
        }
        registry.register("weak_password_logins", "Right passwords by a weak hash", weak);
        self.register_shared_store(&mut registry);
        self.register_upstreams(&mut registry);
        self.register_retries(&mut registry);
        self.register_certificates(&mut registry);
        self.register_issuers(&mut registry);
        registry
    }

    /// Nothing without a shared store: a time of 1970 would look like an outage.
    fn register_shared_store(&self, registry: &mut Registry) {
        let Some((as_of, is_stale, deferred)) = self.shared_store else { return };
        let as_of = usize::try_from(as_of.secs()).unwrap_or(usize::MAX);
        for (name, help, value) in [
            ("store_stale", "Whether the store is away too long", usize::from(is_stale)),
            ("store_revocations_waiting", "Revocations to be written", deferred),
        ] {
            registry.register(name, help, gauge(value));
        }
        let help = "Until when all revocations are known";
        registry.register_with_unit(
            "store_revocations_as_of_timestamp",
            help,
            Unit::Seconds,
            gauge(as_of),
        );
    }

    fn register_upstreams(&self, registry: &mut Registry) {
        let [up, in_use, idle] = [(); 3].map(|()| Family::<Labels, Gauge>::default());
        let states = Family::<Labels, Gauge>::default();
        let failed = Family::<Labels, Counter>::default();
        for (upstream, server, state, in_flight, unused, failures) in &self.upstreams {
            let labels = vec![("upstream", upstream.clone()), ("server", server.clone())];
            // One series for each state, with the value 1 for the present one. Queries can then
            // count servers by state.
            for name in self.upstream_states {
                let labels = [&*labels, &[("state", (*name).to_owned())]].concat();
                states.get_or_create(&labels).set(i64::from(name == state));
            }
            // Only the first state means that the server is used.
            let is_up = self.upstream_states.first() == Some(state);
            up.get_or_create(&labels).set(i64::from(is_up));
            in_use.get_or_create(&labels).set(whole(*in_flight));
            idle.get_or_create(&labels).set(whole(*unused));
            failed.get_or_create(&labels).inc_by(*failures);
        }
        registry.register("upstream_up", "Whether the server is used", up);
        registry.register("upstream_state", "1 for the state that the server is in", states);
        registry.register("upstream_pool_in_use", "Requests in flight", in_use);
        registry.register("upstream_pool_idle", "Connections kept open", idle);
        registry.register("upstream_failures", "Requests that the server failed", failed);
        let unverified = Family::<Labels, Gauge>::default();
        for upstream in &self.unverified_upstreams {
            unverified.get_or_create(&vec![("upstream", upstream.clone())]).set(1);
        }
        let help = "Its certificate is not verified (insecure_skip_verify)";
        registry.register("upstream_tls_unverified", help, unverified);
    }

    fn register_retries(&self, registry: &mut Registry) {
        let [sent, refused] = [(); 2].map(|()| Family::<Labels, Counter>::default());
        for (upstream, retries, exhausted) in &self.retries {
            let labels = vec![("upstream", upstream.clone())];
            sent.get_or_create(&labels).inc_by(*retries);
            refused.get_or_create(&labels).inc_by(*exhausted);
        }
        registry.register("upstream_retries", "Requests sent again", sent);
        let help = "Requests not sent again because too many were";
        registry.register("upstream_retry_budget_exhausted", help, refused);
        let waiting = Family::<Labels, Gauge>::default();
        for (upstream, server, requests) in &self.queues {
            let labels = vec![("upstream", upstream.clone()), ("server", server.clone())];
            waiting.get_or_create(&labels).set(whole(*requests));
        }
        registry.register("upstream_pool_waiting", "Requests that wait for a connection", waiting);
    }

    fn register_certificates(&self, registry: &mut Registry) {
        let not_after = Family::<Labels, Gauge>::default();
        for (name, at) in &self.certificates_not_after {
            let secs = i64::try_from(at.secs()).unwrap_or(i64::MAX);
            not_after.get_or_create(&vec![("certificate", name.clone())]).set(secs);
        }
        registry.register_with_unit(
            "tls_certificate_not_after_timestamp",
            "When the certificate expires",
            Unit::Seconds,
            not_after,
        );
        let current = Family::<Labels, Gauge>::default();
        for (listener, is_current) in &self.certificates_current {
            let labels = vec![("listener", listener.clone())];
            current.get_or_create(&labels).set(i64::from(*is_current));
        }
        let help = "Whether the last reading of the listener's certificates succeeded";
        registry.register("tls_certificate_last_reload_successful", help, current);
    }

    fn register_issuers(&self, registry: &mut Registry) {
        let [fetches, questions] = [(); 2].map(|()| Family::<Labels, Counter>::default());
        let [fetched_at, answered_at] = [(); 2].map(|()| Family::<Labels, Gauge>::default());
        for (issuer, is_asked, succeeded, failed, at) in &self.issuers {
            // An issuer that is asked about tokens and one whose keys are fetched have different
            // metrics, because a failure means something else: no login at all, or old keys.
            let (counts, times) =
                if *is_asked { (&questions, &answered_at) } else { (&fetches, &fetched_at) };
            for (result, count) in [("succeeded", succeeded), ("failed", failed)] {
                let labels = vec![("issuer", issuer.clone()), ("result", result.to_owned())];
                counts.get_or_create(&labels).inc_by(*count);
            }
            if let Some(at) = at {
                let secs = i64::try_from(at.secs()).unwrap_or(i64::MAX);
                times.get_or_create(&vec![("issuer", issuer.clone())]).set(secs);
            }
        }
        registry.register("jwks_refresh", "Fetches of an issuer's keys", fetches);
        registry.register("token_questions", "Questions to an issuer about a token", questions);
        registry.register_with_unit(
            "jwks_last_success_timestamp",
            "When an issuer's keys were last fetched",
            Unit::Seconds,
            fetched_at,
        );
        registry.register_with_unit(
            "token_questions_last_success_timestamp",
            "When an issuer last answered about a token",
            Unit::Seconds,
            answered_at,
        );
    }
}

fn gauge(value: usize) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(whole(value));
    gauge
}

/// The number as a gauge has it; a number that does not fit becomes the largest.
fn whole(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    #[test]
    fn gauges_are_told_as_they_are_at_the_scrape() {
        let gauges = Gauges {
            connections: 3,
            log_lines_dropped: 2,
            body_memory: 11,
            weak_logins: vec![("ssha", 7)],
            store_up: true,
            shared_store: Some((Timestamp::from_secs(7), true, 3)),
            upstreams: vec![("api".to_owned(), "10.0.0.1:80".to_owned(), "up", 4, 5, 6)],
            upstream_states: &["up", "ejected"],
            retries: vec![("api".to_owned(), 3, 1)],
            queues: vec![("api".to_owned(), "10.0.0.1:80".to_owned(), 2)],
            unverified_upstreams: vec!["lab".to_owned()],
            certificates_not_after: vec![("a\"b".to_owned(), Timestamp::from_secs(9))],
            certificates_current: vec![("front".to_owned(), true), ("back".to_owned(), false)],
            issuers: vec![
                ("idp".to_owned(), false, 2, 1, Some(Timestamp::from_secs(8))),
                ("hydra".to_owned(), true, 3, 0, None),
            ],
            ..Gauges::default()
        };

        let text = Metrics::new().render(&gauges);

        for line in [
            "tollhouse_connections 3",
            "tollhouse_log_lines_dropped_total 2",
            r#"tollhouse_weak_password_logins_total{scheme="ssha"} 7"#,
            "tollhouse_body_memory_bytes 11",
            "tollhouse_store_up 1",
            "tollhouse_store_stale 1",
            "tollhouse_store_revocations_waiting 3",
            "tollhouse_store_revocations_as_of_timestamp_seconds 7",
            "tollhouse_draining 0",
            r#"tollhouse_upstream_up{upstream="api",server="10.0.0.1:80"} 1"#,
            r#"tollhouse_upstream_state{upstream="api",server="10.0.0.1:80",state="up"} 1"#,
            r#"tollhouse_upstream_state{upstream="api",server="10.0.0.1:80",state="ejected"} 0"#,
            r#"tollhouse_upstream_pool_in_use{upstream="api",server="10.0.0.1:80"} 4"#,
            r#"tollhouse_upstream_pool_idle{upstream="api",server="10.0.0.1:80"} 5"#,
            r#"tollhouse_upstream_failures_total{upstream="api",server="10.0.0.1:80"} 6"#,
            r#"tollhouse_upstream_retries_total{upstream="api"} 3"#,
            r#"tollhouse_upstream_retry_budget_exhausted_total{upstream="api"} 1"#,
            r#"tollhouse_upstream_pool_waiting{upstream="api",server="10.0.0.1:80"} 2"#,
            r#"tollhouse_upstream_tls_unverified{upstream="lab"} 1"#,
            r#"tollhouse_jwks_refresh_total{issuer="idp",result="succeeded"} 2"#,
            r#"tollhouse_jwks_refresh_total{issuer="idp",result="failed"} 1"#,
            r#"tollhouse_jwks_last_success_timestamp_seconds{issuer="idp"} 8"#,
            r#"tollhouse_token_questions_total{issuer="hydra",result="succeeded"} 3"#,
            r#"tollhouse_tls_certificate_last_reload_successful{listener="front"} 1"#,
            r#"tollhouse_tls_certificate_last_reload_successful{listener="back"} 0"#,
            r#"tollhouse_tls_certificate_not_after_timestamp_seconds{certificate="a\"b"} 9"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
