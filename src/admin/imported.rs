//! The progress of taking users over from other systems.
//!
//! An operator sees from it when the old system can be switched off.

use serde_json::json;

use super::operations::{AdminOperations, CommandResult, failed};

impl AdminOperations {
    /// The counts of the store, and the total of each source that imports, as far as the source
    /// knows it. A source that cannot count its users has neither a total nor a rest.
    pub(super) async fn list_imported(&self) -> CommandResult {
        let shared = &self.gateway.shared;
        let mut listed = Vec::new();
        let users = self.gateway.generation().services.users.clone();
        for source in users.sources().iter().filter(|source| source.imports()) {
            let counts = shared.store.account_counts(source.name()).await.map_err(failed)?;
            let total = source.total().await;
            listed.push(json!({
                "source": source.name(),
                "known": counts.known,
                "imported": counts.imported,
                "first": counts.first.map(|first| first.to_string()),
                "latest": counts.latest.map(|latest| latest.to_string()),
                "total": total,
                "left": total.map(|total| total.saturating_sub(counts.imported)),
            }));
        }
        Ok(json!({ "sources": listed }))
    }
}
