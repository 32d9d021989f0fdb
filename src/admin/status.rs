//! The status of the gateway: what is served, and what an operator should know.
//!
//! It fits on one screen. `tollhouse status` shows it, and a starting gateway looks at `draining`
//! in it to recognise a predecessor that is ending.

use std::time::Duration;

use serde_json::{Value, json};

use super::operations::AdminOperations;
use crate::clock::Timestamp;
use crate::session::shared::{NodeNote, SharedStore};

/// How long the list of nodes may take. A starting gateway waits for the status, and the rest of it
/// is in memory.
const NODES_WITHIN: Duration = Duration::from_millis(300);

impl AdminOperations {
    /// The facts about the gateway. Which of them matter is decided by the program that shows them.
    /// They are read from the same gauges and checks as the metrics and the readiness report, so
    /// the three agree.
    pub(super) async fn status(&self) -> Value {
        let shared = match self.store.shared() {
            Some(store) => shared_store(store, self.gateway.shared.clock.now()).await,
            None => Value::Null,
        };
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
            "shared_store": shared,
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

/// The state of a shared store, and the nodes that it has seen in the last minute. The list is null
/// while the store cannot be asked.
async fn shared_store(store: &SharedStore, now: Timestamp) -> Value {
    let status = store.status();
    let nodes = tokio::time::timeout(NODES_WITHIN, store.nodes()).await;
    let nodes = nodes.ok().and_then(Result::ok);
    let node = |node: &NodeNote| {
        json!({
            "name": node.name,
            "version": node.version,
            "configuration": node.configuration,
            "started": node.started.to_string(),
            "seen": node.seen.to_string(),
        })
    };
    json!({
        "degraded_since": status.degraded.as_ref().map(|(since, _)| since.to_string()),
        "cause": status.degraded.as_ref().map(|(_, cause)| cause),
        "revocations_as_of": status.revocations_as_of.min(now).to_string(),
        "stale": status.is_stale,
        "revocations_waiting": status.deferred,
        "nodes": nodes.map(|nodes| nodes.iter().map(node).collect::<Vec<_>>()),
    })
}
