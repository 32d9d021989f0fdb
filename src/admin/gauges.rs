//! The state of the gateway at this moment, for the readiness report and for metrics.
//!
//! Nothing is kept here: every value is read from the part where it lives, for each probe anew.

use super::ReadinessReport;
use super::operations::AdminOperations;
use super::upstreams;
use crate::clock::Timestamp;
use crate::listener::{ConnectionEvent, HandshakeFailure, ListenerStats};
use crate::telemetry::metrics::Gauges;
use crate::token::KeyState;
use crate::upstream::ServerCondition;

impl AdminOperations {
    /// The state that the readiness report shows. It is computed anew for every probe from what the
    /// parts remember; no other server is contacted.
    pub(crate) fn readiness(&self) -> ReadinessReport {
        let shared = &self.gateway.shared;
        let draining = shared.draining.load(std::sync::atomic::Ordering::Relaxed);
        let generation = self.gateway.generation();
        let users = generation.services.users.sources();
        let users = users.iter().filter_map(|source| source.problem());
        let users = users.map(|problem| format!("users: {problem}"));
        let issuers = generation.verifier.remote_issuers(shared.clock.now());
        let unverified = generation.unverified_upstreams();
        let unverified =
            unverified.map(|name| format!("upstream {name} may be anybody: insecure_skip_verify"));
        // Only these three checks make a gateway unready. Everything else is a note, because it
        // would be the same on every other gateway or can wait for an operator.
        ReadinessReport {
            checks: vec![
                ("draining", if draining { Err("draining".to_owned()) } else { Ok(()) }),
                ("store", shared.store.healthy().map_err(|error| error.to_string())),
                ("keys", self.keys_ready()),
            ],
            notes: users
                .chain(issuers.into_iter().filter_map(|issuer| issuer.problem))
                .chain(upstreams::notes(&generation))
                .chain(self.ending_certificates())
                .chain(self.unread_certificates())
                .chain(shared.acme.notes())
                .chain(shared.store.notes())
                .chain(unverified)
                .chain(shared.metrics.note())
                .chain(self.gateway.reload_notes())
                .collect(),
            upstreams: upstreams::problems(&generation),
        }
    }

    fn keys_ready(&self) -> Result<(), String> {
        let signing =
            self.gateway.shared.ring.list().iter().any(|key| key.state == KeyState::Signing);
        signing.then_some(()).ok_or_else(|| "no key signs".to_owned())
    }

    /// The values of the gauges at this moment. They are read from the parts where they live and
    /// are not kept here. A scrape of the metrics and the status both ask for them.
    pub(crate) fn gauges(&self) -> Gauges {
        let shared = &self.gateway.shared;
        let generation = self.gateway.generation();
        let weak = shared.hashing.weak_logins().into_iter();
        let stats = self.listening.stats();
        let counted = |what| stats.iter().map(|one| one.count(what)).sum::<u64>();
        let refused = [ConnectionEvent::RefusedFull, ConnectionEvent::RefusedAddress];
        let failed = HandshakeFailure::ALL
            .iter()
            .flat_map(|why| stats.iter().map(|one| one.handshake_failures(*why)));
        Gauges {
            connections: stats.iter().map(ListenerStats::open).sum(),
            refused_connections: refused.iter().map(|what| counted(*what)).sum(),
            handshake_failures: failed.sum(),
            upstreams: upstreams::gauges(&generation),
            upstream_states: &ServerCondition::NAMES,
            retries: upstreams::retries(&generation),
            queues: upstreams::queues(&generation),
            unverified_upstreams: generation.unverified_upstreams().map(str::to_owned).collect(),
            streams: shared.cancellations.streams.open(),
            revocations: shared.store.revocations().len(),
            verified_tokens: generation.verifier.remembered(),
            throttled: generation.throttle.len(),
            body_memory: shared.bodies.used(),
            remembered_signatures: shared.seen_signatures.count(),
            hashing_waiting: shared.hashing.waiting(),
            weak_logins: weak.map(|(scheme, count)| (scheme.as_str(), count)).collect(),
            log_lines_dropped: shared.access.dropped() + shared.audit.dropped(),
            store_up: self.store.is_up(),
            shared_store: self.store.shared().map(|store| {
                let status = store.status();
                (status.revocations_as_of, status.is_stale, status.deferred)
            }),
            draining: shared.draining.load(std::sync::atomic::Ordering::Relaxed),
            certificates_not_after: self.certificates(),
            certificates_current: self.certificates_current(),
            issuers: generation
                .verifier
                .remote_issuers(shared.clock.now())
                .into_iter()
                .map(|one| {
                    (one.name.to_string(), one.is_opaque, one.succeeded, one.failed, one.fetched)
                })
                .collect(),
        }
    }

    /// Sentences about certificates that end soon; the log says so once a day.
    fn ending_certificates(&self) -> Vec<String> {
        self.listening
            .certificates()
            .iter()
            .flat_map(|certificates| certificates.problems())
            .collect()
    }

    /// Sentences about listeners whose certificate files cannot be served any more.
    fn unread_certificates(&self) -> Vec<String> {
        let certificates = self.listening.certificates();
        let notes = certificates.iter().filter_map(|one| {
            let listener = one.listener();
            let cause = one.failure()?;
            Some(format!("listener {listener} serves its certificates of before: {cause}"))
        });
        notes.collect()
    }

    /// Each listener with certificates, and whether those in its files are the ones that are
    /// served.
    fn certificates_current(&self) -> Vec<(String, bool)> {
        let certificates = self.listening.certificates();
        let pairs = certificates.iter();
        pairs.map(|one| (one.listener().to_owned(), one.failure().is_none())).collect()
    }

    /// The end of each certificate, by the file of its chain.
    fn certificates(&self) -> Vec<(String, Timestamp)> {
        let certificates = self.listening.certificates();
        let facts = certificates.iter().flat_map(|served| served.facts());
        facts.map(|fact| (fact.chain.display().to_string(), fact.not_after)).collect()
    }
}
