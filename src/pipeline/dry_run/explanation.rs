//! An explanation, as it is written: one JSON object for programs, from which the command line makes
//! its text. Its members are a contract: they are added to and not renamed.

use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) request: RequestFacts,
    /// The endpoints with the path, and every route, with the reason why it lost.
    pub(super) routes: Vec<Candidate>,
    pub(super) credential: Option<CredentialFacts>,
    /// The checks in their order.
    pub(super) checks: Vec<Check>,
    pub(super) verdict: Verdict,
    pub(super) limits: Vec<Limit>,
    /// The request that the upstream would receive.
    pub(super) upstream: Option<UpstreamRequest>,
    pub(super) notes: Vec<String>,
}

impl Explanation {
    pub(super) fn to_json(&self) -> Value {
        // Invariant: all members are text, numbers and lists of them.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The request in canonical form.
#[derive(Debug, Serialize)]
pub(super) struct RequestFacts {
    pub(super) method: String,
    /// Path and query as received.
    pub(super) target: String,
    pub(super) host: Option<String>,
    /// The path that is matched: decoded once.
    pub(super) path: Option<String>,
    pub(super) scheme: &'static str,
    pub(super) listener: String,
    pub(super) client: Option<String>,
    pub(super) is_trusted_proxy: bool,
}

/// A route or a login endpoint that was considered.
#[derive(Debug, Serialize)]
pub(super) struct Candidate {
    /// `route` or `endpoint`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) methods: Vec<String>,
    pub(super) is_taken: bool,
    /// Why it lost: `host`, `outer_host`, `path`, `shorter_path`, `method`, `endpoint`, `spelling`,
    /// `credential`, `earlier`.
    pub(super) lost_by: Option<&'static str>,
    pub(super) place: Place,
}

/// A key of the configuration.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Place {
    pub(super) key: String,
    pub(super) file: String,
    /// Of the key, or of the table around it where a default holds.
    pub(super) line: Option<usize>,
}

/// The credential that was found; never its value.
#[derive(Debug, Serialize)]
pub(super) struct CredentialFacts {
    pub(super) kind: &'static str,
    pub(super) carrier: String,
    /// The facts that a token states of itself. They are verified only if the checks say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claimed: Option<Value>,
    /// The caller, if the credential is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<IdentityFacts>,
}

/// A verified identity.
#[derive(Debug, Serialize)]
pub(super) struct IdentityFacts {
    pub(super) subject: String,
    pub(super) username: String,
    pub(super) issuer: String,
    pub(super) login: String,
    pub(super) source: String,
    pub(super) session: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) scopes: Vec<String>,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    /// `passed`, `failed`, `observed` (failed, and only recorded), `unknown` (not found out here) or
    /// `not_reached`.
    pub(super) outcome: &'static str,
    pub(super) detail: String,
}

/// The end that the request comes to.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// A word of the access log's `outcome`, or `login` or `undecided`.
    pub(super) outcome: &'static str,
    /// The status of the gateway's own answer. An upstream decides on its own.
    pub(super) status: Option<u16>,
    pub(super) reason: Option<&'static str>,
    pub(super) cause: Option<String>,
    /// The form of a refusal.
    pub(super) form: Option<String>,
    /// Why it was let through: `open`, `preflight`, `passed`, `permitted`.
    pub(super) grounds: Option<&'static str>,
    pub(super) decided_by: Option<Place>,
}

/// A limit that applies to the request.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    pub(super) limit: String,
    pub(super) allows: String,
    /// The rest that is left now, where the limit counts and the request came as far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    pub(super) place: Place,
}

/// The request as a server would receive it.
#[derive(Debug, Serialize)]
pub(super) struct UpstreamRequest {
    pub(super) upstream: String,
    /// The server that this request would go to; another may be chosen for the next one.
    pub(super) server: String,
    pub(super) servers: Vec<ServerFacts>,
    pub(super) protocol: &'static str,
    pub(super) method: String,
    pub(super) target: String,
    /// The credential with which the gateway calls, in words.
    pub(super) credential: Option<String>,
    /// Name and value of each field, in order; a value that is a credential is not shown.
    pub(super) fields: Vec<(String, String)>,
    /// The client's fields that do not go along.
    pub(super) removed: Vec<String>,
    /// The client's fields that the gateway sends with another value.
    pub(super) replaced: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ServerFacts {
    pub(super) server: String,
    pub(super) condition: String,
}
