//! The commands of the admin socket: from a request to a value.
//!
//! A request is exactly one command, or it is refused with the reason. An unknown parameter or
//! field is an error, because a misspelt `user` must never come to mean all users. Nothing is
//! carried out here; `operations` does that.

use std::path::PathBuf;

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::identity::SessionId;
use crate::pipeline::ExplainRequest;
use crate::secret::SecretString;

/// A command of an operator. Each variant names its request.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminCommand {
    /// `GET /status`
    Status,
    /// `GET /observed`
    Observed,
    /// `DELETE /observed`
    ForgetObserved,
    /// `GET /sessions[?user=[&source=]]`
    ListSessions { user: Option<String>, source: Option<String> },
    /// `DELETE /sessions/{id}`
    RevokeSession { id: SessionId },
    /// `DELETE /sessions?user=[&source=]`
    RevokeUser { user: String, source: Option<String> },
    /// `DELETE /sessions?all=true`
    RevokeAll,
    /// `POST /reload`
    Reload,
    /// `GET /keys`
    ListKeys,
    /// `POST /keys/rotate` with `algorithm`
    RotateKeys { algorithm: Option<String> },
    /// `DELETE /keys/{kid}`
    RevokeKey { kid: String },
    /// `POST /keys/import` with `key` and `algorithm`
    ImportKey { key: SecretString, algorithm: Option<String> },
    /// `POST /limits/lift` with `name`
    LiftLimits { name: String },
    /// `POST /tokens` with `user` and `login`
    MintToken { user: String, login: String },
    /// `POST /totp` with `user`, `source` and `replace`
    MakeTotp { user: String, source: Option<String>, replace: bool },
    /// `POST /totp/remove` with `user` and `source`
    RemoveTotp { user: String, source: Option<String> },
    /// `GET /api-keys`
    ListApiKeys,
    /// `DELETE /api-keys/{id}`
    RevokeApiKey { id: String },
    /// `GET /users/imported`
    ListImported,
    /// `POST /store/backup` with `path`
    Backup { path: PathBuf },
    /// `POST /explain` with a request
    Explain(Box<ExplainRequest>),
}

type ErrorReply = (StatusCode, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyArgs {}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RotateArgs {
    algorithm: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportArgs {
    key: String,
    algorithm: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiftArgs {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MintRequest {
    user: String,
    login: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTotpArgs {
    user: String,
    source: Option<String>,
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldTotpArgs {
    user: String,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupArgs {
    path: PathBuf,
}

impl AdminCommand {
    /// The command of a request. The error is the status and the text to refuse the request with.
    /// The query and the body must fit the path exactly. A body is JSON. A faulty request changes
    /// nothing.
    pub fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Self, ErrorReply> {
        let segments = segments(path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if segments.as_slice() == ["sessions"] {
            return sessions(method, query);
        }
        // `sessions` is the only path with a query. On all others a query is a mistake, and may be
        // a misplaced restriction.
        if query.is_some_and(|query| !query.is_empty()) {
            return Err(bad("this path takes no query"));
        }
        let get = method == Method::GET;
        let post = method == Method::POST;
        let delete = method == Method::DELETE;
        match segments.as_slice() {
            ["sessions", id] if delete => {
                let id = SessionId::parse(id).ok_or_else(|| bad("the session id is not a UUID"))?;
                Ok(Self::RevokeSession { id })
            }
            ["reload"] if post => {
                let EmptyArgs {} = optional(body)?.unwrap_or(EmptyArgs {});
                Ok(Self::Reload)
            }
            ["status"] if get => Ok(Self::Status),
            ["observed"] if get => Ok(Self::Observed),
            ["observed"] if delete => Ok(Self::ForgetObserved),
            ["keys"] if get => Ok(Self::ListKeys),
            ["keys", "rotate"] if post => {
                let RotateArgs { algorithm } = optional(body)?.unwrap_or_default();
                Ok(Self::RotateKeys { algorithm })
            }
            ["keys", "import"] if post => {
                let ImportArgs { key, algorithm } = required(body)?;
                Ok(Self::ImportKey { key: SecretString::new(key), algorithm })
            }
            ["keys", kid] if delete => Ok(Self::RevokeKey { kid: (*kid).to_owned() }),
            ["limits", "lift"] if post => {
                let LiftArgs { name } = required(body)?;
                Ok(Self::LiftLimits { name: named("name", name)? })
            }
            ["tokens"] if post => {
                let MintRequest { user, login } = required(body)?;
                Ok(Self::MintToken { user: named("user", user)?, login: named("login", login)? })
            }
            ["totp"] if post => {
                let NewTotpArgs { user, source, replace } = required(body)?;
                Ok(Self::MakeTotp { user: named("user", user)?, source, replace })
            }
            ["totp", "remove"] if post => {
                let OldTotpArgs { user, source } = required(body)?;
                Ok(Self::RemoveTotp { user: named("user", user)?, source })
            }
            ["api-keys"] if get => Ok(Self::ListApiKeys),
            ["api-keys", id] if delete => Ok(Self::RevokeApiKey { id: (*id).to_owned() }),
            ["users", "imported"] if get => Ok(Self::ListImported),
            ["store", "backup"] if post => {
                let BackupArgs { path } = required(body)?;
                // The gateway's working folder is another one than the operator's, so a relative
                // path would end up somewhere else.
                let path = Some(path).filter(|path| path.is_absolute());
                Ok(Self::Backup { path: path.ok_or_else(|| bad("path must be absolute"))? })
            }
            ["explain"] if post => Ok(Self::Explain(Box::new(required(body)?))),
            known => Err(unknown(known)),
        }
    }
}

/// The commands about sessions. Ending all sessions needs an explicit `all=true`.
fn sessions(method: &Method, query: Option<&str>) -> Result<AdminCommand, ErrorReply> {
    let mut user = None;
    let mut source = None;
    let mut all = None;
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let slot = match &*key {
            "user" => &mut user,
            "source" => &mut source,
            "all" => &mut all,
            _ => return Err(bad("only user, source and all are known here")),
        };
        // Two values for one parameter contradict each other, and the second one could be an
        // addition by mistake.
        if slot.replace(value.into_owned()).is_some() {
            return Err(bad("a parameter is given twice"));
        }
    }
    let user = user.map(|user| named("user", user)).transpose()?;
    let source = source.map(|source| named("source", source)).transpose()?;
    if source.is_some() && user.is_none() {
        return Err(bad("source goes with user"));
    }
    match (method, user, all.as_deref()) {
        (&Method::GET, user, None) => Ok(AdminCommand::ListSessions { user, source }),
        (&Method::DELETE, Some(user), None) => Ok(AdminCommand::RevokeUser { user, source }),
        (&Method::DELETE, None, Some("true")) => Ok(AdminCommand::RevokeAll),
        (&Method::GET, ..) => Err(bad("all is for DELETE")),
        (&Method::DELETE, ..) => Err(bad("give either user=… or all=true")),
        _ => Err(unknown(&["sessions"])),
    }
}

fn segments(path: &str) -> Result<Vec<String>, ErrorReply> {
    let path = path.strip_prefix('/').ok_or_else(|| bad("the path does not begin with /"))?;
    // The path is split before it is decoded: an encoded slash is part of a name.
    let decoded = path.split('/').map(|part| percent_decode_str(part).decode_utf8());
    let decoded = decoded.map(|part| part.map(|part| part.into_owned()));
    decoded.collect::<Result<_, _>>().map_err(|_| bad("the path is not UTF-8"))
}

fn required<T: DeserializeOwned>(body: &[u8]) -> Result<T, ErrorReply> {
    // The messages of serde could quote the body, and the body may contain a key.
    serde_json::from_slice(body).map_err(|error| {
        let what = format!("line {}, column {}", error.line(), error.column());
        bad(&format!("the body is not the JSON object that this path takes ({what})"))
    })
}

fn optional<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, ErrorReply> {
    if body.is_empty() { Ok(None) } else { required(body).map(Some) }
}

fn named(field: &str, value: String) -> Result<String, ErrorReply> {
    if value.is_empty() { Err(bad(&format!("{field} is empty"))) } else { Ok(value) }
}

fn bad(text: &str) -> ErrorReply {
    (StatusCode::BAD_REQUEST, text.to_owned())
}

/// The answer to a path or method without a command: 405 if the path exists, else 404. The list
/// repeats the paths of `parse`, because a path alone does not show its methods.
fn unknown(segments: &[&str]) -> ErrorReply {
    match segments {
        ["sessions" | "keys" | "reload" | "status" | "tokens" | "observed" | "explain"]
        | ["sessions" | "keys", _]
        | ["limits", "lift"]
        | ["totp"]
        | ["totp", "remove"]
        | ["users", "imported"]
        | ["api-keys"]
        | ["api-keys", _]
        | ["store", "backup"] => {
            (StatusCode::METHOD_NOT_ALLOWED, "not with this method".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "there is no such command".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn parse(request: &str, body: &str) -> Result<AdminCommand, u16> {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let parsed = AdminCommand::parse(&method.parse().unwrap(), path, query, body.as_bytes());
        parsed.map_err(|(status, _)| status.as_u16())
    }

    #[test]
    fn each_request_is_its_command() {
        use AdminCommand::*;
        let user = || "ann b".to_owned();
        for (request, body, command) in [
            ("GET /status", "", Status),
            ("GET /observed", "", Observed),
            ("DELETE /observed", "", ForgetObserved),
            ("GET /sessions", "", ListSessions { user: None, source: None }),
            ("GET /sessions?user=ann%20b", "", ListSessions { user: Some(user()), source: None }),
            (
                &format!("DELETE /sessions/{ID}"),
                "",
                RevokeSession { id: SessionId::parse(ID).unwrap() },
            ),
            ("DELETE /sessions?user=ann%20b", "", RevokeUser { user: user(), source: None }),
            (
                "DELETE /sessions?user=ann%20b&source=shop",
                "",
                RevokeUser { user: user(), source: Some("shop".to_owned()) },
            ),
            ("DELETE /sessions?all=true", "", RevokeAll),
            ("POST /reload", "", Reload),
            ("GET /keys", "", ListKeys),
            ("POST /keys/rotate", "", RotateKeys { algorithm: None }),
            (
                "POST /keys/rotate",
                r#"{"algorithm":"EdDSA"}"#,
                RotateKeys { algorithm: Some("EdDSA".to_owned()) },
            ),
            ("DELETE /keys/a%2Fb", "", RevokeKey { kid: "a/b".to_owned() }),
            ("POST /keys/import", r#"{"key":"k"}"#, ImportKey { key: "k".into(), algorithm: None }),
            ("POST /limits/lift", r#"{"name":"ann b"}"#, LiftLimits { name: user() }),
            (
                "POST /tokens",
                r#"{"user":"ann b","login":"main"}"#,
                MintToken { user: user(), login: "main".to_owned() },
            ),
            (
                "POST /totp",
                r#"{"user":"ann b"}"#,
                MakeTotp { user: user(), source: None, replace: false },
            ),
            (
                "POST /totp/remove",
                r#"{"user":"ann b","source":"staff"}"#,
                RemoveTotp { user: user(), source: Some("staff".to_owned()) },
            ),
            ("GET /users/imported", "", ListImported),
            ("GET /api-keys", "", ListApiKeys),
            ("DELETE /api-keys/robot", "", RevokeApiKey { id: "robot".to_owned() }),
            ("POST /store/backup", r#"{"path":"/b/s"}"#, Backup { path: "/b/s".into() }),
            (
                "POST /explain",
                r#"{"method":"GET","url":"/a"}"#,
                Explain(Box::new(ExplainRequest {
                    method: "GET".to_owned(),
                    url: "/a".to_owned(),
                    fields: Vec::new(),
                    as_user: None,
                    from: None,
                })),
            ),
        ] {
            assert_eq!(parse(request, body), Ok(command), "{request}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_command_is_refused() {
        for (request, body, status) in [
            ("DELETE /sessions", "", 400),
            ("DELETE /sessions?user=", "", 400),
            ("DELETE /sessions?usr=ann", "", 400),
            ("DELETE /sessions?user=ann&all=true", "", 400),
            ("DELETE /sessions?user=ann&user=bob", "", 400),
            ("DELETE /sessions?all=false", "", 400),
            ("DELETE /sessions?source=shop", "", 400),
            ("DELETE /sessions?source=shop&all=true", "", 400),
            ("DELETE /sessions/not-an-id", "", 400),
            ("POST /keys/import", r#"{"key":"k","extra":1}"#, 400),
            ("POST /limits/lift", "", 400),
            ("POST /limits/lift", r#"{"name":""}"#, 400),
            ("POST /totp", r#"{"user":""}"#, 400),
            ("POST /totp", r#"{"user":"ann","remove":true}"#, 400),
            ("DELETE /totp", "", 405),
            ("POST /store/backup", r#"{"path":"relative"}"#, 400),
            ("POST /sessions", "", 405),
            ("GET /reload", "", 405),
            ("POST /users/imported", "", 405),
            ("DELETE /api-keys", "", 405),
            ("POST /status", "", 405),
            ("GET /explain", "", 405),
            ("POST /explain", r#"{"method":"GET","url":"/a","user":"ann"}"#, 400),
            ("GET /status?x=1", "", 400),
            ("GET /nothing", "", 404),
            ("GET /keys/", "", 405),
            ("DELETE /sessions/a/b", "", 404),
        ] {
            assert_eq!(parse(request, body), Err(status), "{request}");
        }
    }
}
