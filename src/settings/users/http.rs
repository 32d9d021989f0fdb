//! `kind = "http"`: users of a legacy system, which is asked in a dialect.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::dialect::Dialect;
use crate::dialect::client::ProgramCredential;
use crate::settings::path::is_loopback;
use crate::settings::written;

/// A legacy system in which the users of this source log in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpUsers {
    /// The address that the dialect's paths are appended to. `None` if only imported hashes decide,
    /// so that the system is not needed any more.
    #[serde(flatten, serialize_with = "address")]
    pub url: Option<Uri>,
    #[serde(serialize_with = "written::dialect")]
    pub dialect: Arc<Dialect>,
    /// The gateway's own id and secret as a program, where the system asks for them.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "written::program")]
    pub client: Option<ProgramCredential>,
    /// The CA to trust instead of the public CAs: its file, and the PEM text in it.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<(PathBuf, String)>,
    /// Time for one login, from resolving the host's name to the last byte of the answer.
    #[serde(serialize_with = "written::duration")]
    pub timeout: Duration,
    /// Upper bound on logins at the same time. Further ones wait, within their own timeout.
    pub parallel: usize,
    #[serde(flatten, serialize_with = "imports")]
    pub import: PasswordImport,
    /// The tokens that a login there gives are kept with the session here.
    pub keep: bool,
    pub names: LegacyNames,
    /// The roles of a user for whom the answer contains none.
    pub default_roles: Vec<String>,
    /// The legacy system's names of roles, each with the name here; empty: the names are the same.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub role_names: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "UserMap::is_default")]
    pub map: UserMap,
}

/// Whether verified passwords are kept here, so that the legacy system can be switched off one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordImport {
    /// Nothing is kept: every login is verified by the legacy system.
    Off,
    /// Every login that succeeds there leaves a hash here.
    On,
    /// As `On`; in addition, a user with a hash here is verified by it alone, and the legacy system
    /// is not asked about them any more. A password that was changed there is then unknown here.
    Final,
}

/// How the legacy system compares the names of its users, as stated by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LegacyNames {
    /// Byte for byte, as far as is known: `Bob` and `bob` may be two people.
    Exact,
    /// Without regard to case: `Bob` and `bob` are one person.
    CaseBlind,
}

/// The paths into an answer at which facts about the user are found. `None`: where the dialect puts
/// that fact.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UserMap {
    pub id: Option<ResponsePath>,
    pub name: Option<ResponsePath>,
    pub email: Option<ResponsePath>,
    pub roles: Option<ResponsePath>,
    pub scopes: Option<ResponsePath>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, ResponsePath>,
}

/// A path into the answer of the legacy system, or into the token that the answer contains.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponsePath {
    pub root: ResponseRoot,
    pub path: Vec<String>,
}

/// The value that a path begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseRoot {
    /// The answer itself.
    Answer,
    /// The claims of the token in the answer. Its signature is not verified: the legacy system
    /// itself has just sent it. An answer without a token has none of these claims.
    Token,
}

impl HttpUsers {
    /// Parses the address of a legacy system: absolute, without user, query and fragment. `None`
    /// for anything else. A password in the address would appear in messages and metrics. A query
    /// would end up before the dialect's path.
    pub fn parse_url(text: &str) -> Option<Uri> {
        let url = text.parse::<Uri>().ok()?;
        let is_known = matches!(url.scheme_str(), Some("http" | "https"));
        let has_host = url.host().is_some_and(|host| !host.is_empty());
        (is_known && has_host && !text.contains(['@', '#', '?'])).then_some(url)
    }

    /// True if data sent to this address crosses a network without encryption. Plain HTTP to
    /// loopback does not leave the machine. Every password of a user would be readable on that
    /// network.
    pub fn is_in_the_clear(url: &Uri) -> bool {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        url.scheme_str() != Some("https") && !is_loopback(host)
    }

    /// True if two users can never be taken for one because of the spelling of their names: the
    /// answers have ids, or the system itself ignores case. Second steps and final imports rely on
    /// it, because both are stored for one person.
    pub(crate) fn tells_people_apart(&self) -> bool {
        self.map.tells_people_apart(self.names)
    }
}

impl UserMap {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// True if no spelling of a name leads to two users, under this rule for names.
    pub(crate) fn tells_people_apart(&self, names: LegacyNames) -> bool {
        self.id.is_some() || names == LegacyNames::CaseBlind
    }
}

/// The address, and with it whether plain HTTP to it was allowed.
fn address<S: Serializer>(url: &Option<Uri>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    if let Some(url) = url {
        map.serialize_entry("url", &url.to_string())?;
    }
    let is_plain = url.as_ref().is_some_and(HttpUsers::is_in_the_clear);
    map.serialize_entry("allow_http", &is_plain)?;
    map.end()
}

fn imports<S: Serializer>(import: &PasswordImport, serializer: S) -> Result<S::Ok, S::Error> {
    let is_final = *import == PasswordImport::Final;
    let is_on = *import != PasswordImport::Off;
    serializer.collect_map([("import", is_on), ("import_final", is_final)])
}

impl Serialize for ResponsePath {
    /// A list of names, which a name with a dot fits into.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let root = match self.root {
            ResponseRoot::Answer => "answer",
            ResponseRoot::Token => "token",
        };
        serializer.collect_seq(std::iter::once(root).chain(self.path.iter().map(String::as_str)))
    }
}
