//! `[[issuer]] kind = "sessions"`: tokens without claims that a legacy system gave out, and how that
//! system is asked about them. `kind = "webitel_sessions"` is the same for the pairs of an older
//! Webitel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::Serialize;

use super::written;
use crate::dialect::CallCarrier;
use crate::secret::SecretString;

/// How a legacy system is asked about its tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegacySessionSettings {
    #[serde(flatten)]
    pub kind: SessionKind,
    /// How long a token that was found valid is accepted without asking again.
    #[serde(serialize_with = "written::duration")]
    pub cache: Duration,
    /// The legacy system's names of roles, each with the name of the role here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub role_names: BTreeMap<String, String>,
    #[serde(flatten)]
    pub lookup: SessionLookup,
}

/// What the legacy system gave out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SessionKind {
    /// Pairs of `X-Access-Token` and `X-Key`.
    WebitelSessions,
    /// Tokens, or pairs of token and key, in these places.
    Sessions {
        #[serde(serialize_with = "written::call_carrier")]
        carrier: CallCarrier,
    },
}

impl SessionKind {
    /// Where clients have the token on calls.
    pub fn carrier(&self) -> CallCarrier {
        match self {
            Self::WebitelSessions => CallCarrier::usual_pair(),
            Self::Sessions { carrier } => carrier.clone(),
        }
    }
}

/// The system in which a token is looked up.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionLookup {
    /// A GET request with the token where clients have it; a 2xx answer means that it is valid.
    Http {
        #[serde(serialize_with = "written::text")]
        url: Uri,
        map: SessionMap,
    },
    /// A query for the row of the key, or of the token where there is no key; the row contains the
    /// token to compare.
    Sql(SessionSql),
}

/// Paths into the JSON of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionMap {
    pub id: Vec<String>,
    pub username: Option<Vec<String>>,
    pub roles: Option<Vec<String>>,
    pub expires: Option<Vec<String>>,
}

/// A database and the query that is run in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionSql {
    /// `postgres://…`, `mysql://…` or `sqlite:path`.
    pub url: SecretString,
    /// A relative path in an SQLite address is relative to this folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Connect without TLS to a server on another machine.
    pub allow_plain: bool,
    /// The query's only placeholder stands for the key. The token is compared here, so it is not
    /// sent to the database and appears in no log of it. Nor can the token's comparison depend on
    /// the rules of the database, such as ignoring case. A token without a key is the placeholder
    /// itself, and is compared here all the same.
    pub query: String,
    pub columns: SessionColumns,
}

/// Names of the columns in the query's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionColumns {
    pub token: String,
    pub id: String,
    pub username: Option<String>,
    pub roles: Option<String>,
    pub expires: Option<String>,
}
