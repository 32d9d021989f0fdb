//! The status of the gateway: what is served, and what an operator should know.
//!
//! It fits on one screen. `tollhouse status` shows it, and a starting gateway looks at `draining`
//! in it to recognise a predecessor that is ending.

use serde_json::{Value, json};

use super::operations::AdminOperations;

impl AdminOperations {
    /// The facts about the gateway. Which of them matter is decided by the program that shows them.
    /// They are read from the same gauges and checks as the metrics and the readiness report, so
    /// the three agree.
    pub(super) fn status(&self) -> Value {
        let gauges = self.gauges();
        let readiness = self.readiness();
        let generation = self.gateway.generation();
        let config = &generation.config;
        let upstreams = gauges.upstreams.iter().map(|(upstream, server, state, in_flight, ..)| {
            json!({ "upstream": upstream, "server": server, "state": state, "open": in_flight })
        });
        let issuers = gauges.issuers.iter().map(|(name, _, succeeded, failed, fetched)| {
            let fetched = fetched.as_ref().map(ToString::to_string);
            json!({ "name": name, "answers": succeeded, "failures": failed, "latest": fetched })
        });
        let users = generation.services.users.sources();
        let problems: Vec<String> = users.iter().filter_map(|source| source.problem()).collect();
        let certificates = gauges.certificates_not_after.iter();
        let certificates = certificates
            .map(|(file, not_after)| json!({ "file": file, "ends": not_after.to_string() }));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "config": config.path,
            "ready": readiness.is_ready(),
            "draining": gauges.draining,
            "store_up": gauges.store_up,
            "listeners": config.listeners.iter().map(|one| &one.name).collect::<Vec<_>>(),
            "users": config.users.iter().map(|one| &one.name).collect::<Vec<_>>(),
            "user_problems": problems,
            "issuers": issuers.collect::<Vec<_>>(),
            "upstreams": upstreams.collect::<Vec<_>>(),
            "certificates": certificates.collect::<Vec<_>>(),
            "connections": gauges.connections,
            "streams": gauges.streams,
            "revocations": gauges.revocations,
            "log_lines_dropped": gauges.log_lines_dropped,
            "failed": readiness.checks.iter().filter_map(|(name, found)| {
                found.as_ref().err().map(|cause| format!("{name}: {cause}"))
            }).collect::<Vec<_>>(),
            "notes": readiness.notes,
        })
    }
}
