//! A dialect as its TOML file has it, before it is checked.
//!
//! The same types serve the files `crates/dialect/src/builtin/*.toml` and `[[dialect]]` in `gateway.toml`.
//! Unknown keys are refused. Enums are externally tagged and nothing is flattened: with either,
//! serde could not say where in the file a mistake is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::calls::RawCalls;
use super::condition::RawConditions;
use super::endpoint_kinds::{AccountLookup, EndpointStep, SecondStep};
use super::error_table::RawError;
use super::example::RawExample;
use super::program::RawProgram;
use super::raw_credential::RawCredential;
use super::reply::RawReply;
use super::sent_value::RawSentValues;

/// Where a request goes that no endpoint of its method and path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOtherwise {
    Route,
}

/// The table of a dialect as it is written. Statuses, durations and placeholders are not checked
/// here: serde would stop at the first mistake, and `check` reports all of them together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDialect {
    /// The name used by `[[login]] dialect` and `[[route]] errors`.
    pub name: String,
    #[serde(default)]
    pub(super) endpoint: Vec<RawEndpoint>,
    #[serde(default)]
    pub(super) error: BTreeMap<String, RawError>,
    #[serde(default)]
    pub(super) claims: RawClaims,
    #[serde(default)]
    pub(super) tokens: RawTokens,
    /// Roles and their numbers, in order; the first role that a user has decides. `*` stands for
    /// all other users. The order of the file is kept, because it decides.
    #[serde(default)]
    pub(super) roles: Map<String, Value>,
    /// Values of `$config.NAME` for logins that have none of their own.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    pub(super) cors: Option<RawCors>,
    /// How clients carry the access token on all other requests.
    #[serde(default)]
    pub(super) call: RawCalls,
    /// Requests, and the answers that they get.
    #[serde(default)]
    pub(super) example: Vec<RawExample>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndpoint {
    pub(super) step: EndpointStep,
    /// Method and path, for example `POST /login`.
    pub(super) request: String,
    pub(super) when: Option<RawWhen>,
    /// The conditions that distinguish this endpoint from others of the same method and path.
    #[serde(default, rename = "where")]
    pub(super) selector: RawConditions,
    /// Where a request goes that no endpoint of this method and path takes.
    pub(super) otherwise: Option<RawOtherwise>,
    #[serde(default)]
    pub(super) credential: Vec<RawCredential>,
    /// Where the calling program presents itself beside the user.
    pub(super) client: Option<RawProgram>,
    /// Members and parameters that the request must have.
    #[serde(default)]
    pub(super) require: RawConditions,
    /// What a client sends besides its credential.
    #[serde(default)]
    pub(super) send: RawSentValues,
    /// Media types of JSON bodies, beside `application/json` and those that end in `+json`.
    #[serde(default)]
    pub(super) media_types: Vec<String>,
    #[serde(default)]
    pub(super) account: RawAccount,
    #[serde(default)]
    pub(super) second_step: SecondStep,
    #[serde(default)]
    pub(super) rotates: bool,
    pub(super) reply: Option<RawReply>,
    pub(super) pending_reply: Option<RawReply>,
    #[serde(default)]
    pub(super) error: BTreeMap<String, RawError>,
}

/// The kinds of name that users are looked up by, in order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum RawAccount {
    Single(AccountLookup),
    Several(Vec<AccountLookup>),
}

impl Default for RawAccount {
    fn default() -> Self {
        Self::Single(AccountLookup::Username)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawWhen {
    Unauthenticated,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClaims {
    pub(super) access: Map<String, Value>,
    pub(super) refresh: Map<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTokens {
    /// `jwt` or `opaque`; `shape` and `prefix` are for the latter.
    pub(super) format: Option<String>,
    pub(super) shape: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) access_ttl: Option<String>,
    pub(super) refresh_ttl: Option<String>,
    pub(super) refresh_idle: Option<String>,
    /// Each use of an opaque token moves its end to so long from then.
    pub(super) idle: Option<String>,
    pub(super) ends_with_access: bool,
}

/// A `cors` table as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCors {
    /// A list of origins, or one of the words `*` (any origin) and `echo` (any origin, answered by
    /// repeating it). Neither goes together with `credentials = true`.
    pub(super) origins: Vec<String>,
    #[serde(default)]
    pub(super) methods: Vec<String>,
    #[serde(default)]
    pub(super) headers: Vec<String>,
    #[serde(default)]
    pub(super) expose: Vec<String>,
    #[serde(default)]
    pub(super) credentials: bool,
    pub(super) max_age: Option<String>,
    pub(super) preflight_status: Option<u16>,
}
