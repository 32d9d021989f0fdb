//! Explains what the running gateway would do with a request, without doing it.
//!
//! Nothing is changed, so nothing is written to the audit log.

use http::StatusCode;
use serde_json::Value;

use super::operations::{AdminOperations, CommandResult, failed};
use crate::format::error_chain;
use crate::listener::imagined_client;
use crate::pipeline::{self, ExplainError, ExplainRequest};

impl AdminOperations {
    /// The explanation of `request`, on the configuration in effect and the present state.
    ///
    /// # Errors
    /// As `pipeline::explain`.
    pub(crate) async fn explain(&self, request: &ExplainRequest) -> Result<Value, ExplainError> {
        let view = self.gateway.dry_run();
        let view = view.map_err(|error| ExplainError::Build(error_chain(&error)))?;
        let worker = self.gateway.shared.background.as_worker();
        pipeline::explain(&view, &worker, request, imagined_client).await
    }

    pub(super) async fn explain_by_command(&self, request: &ExplainRequest) -> CommandResult {
        self.explain(request).await.map_err(|error| match error {
            ExplainError::Request(problem) => (StatusCode::BAD_REQUEST, problem),
            ExplainError::User(problem) => (StatusCode::NOT_FOUND, problem),
            ExplainError::Build(problem) => failed(problem),
        })
    }
}
