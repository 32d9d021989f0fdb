//! `[[issuer]]`: others whose tokens are accepted.

use std::time::Duration;

use super::files::Privacy;
use super::item::Item;
use super::keycheck::{check_jwks, check_pem, check_secret};
use super::reader::Table;
use super::suggest::Names;
use super::token::{MAX_LEEWAY, MAX_TTL, MIN_TTL, Token, algorithm};
use crate::algorithm::Algorithm;
use crate::clock::{Timestamp, start_of_day};
use crate::identity::SELF_ISSUER;
use crate::secret::Secret;

/// Someone else who signs tokens that we accept.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    pub name: String,
    /// Compared byte for byte with `iss`.
    pub issuer: String,
    pub audience: Audience,
    pub algorithms: Vec<Algorithm>,
    pub keys: IssuerKeys,
    /// Accepted `sub`s; empty: all.
    pub subjects: Vec<String>,
    pub username_claim: Vec<String>,
    /// Path into the claims.
    pub roles_claim: Vec<String>,
    pub scopes_claim: Vec<String>,
    /// Accepted `typ`s, lower-cased, without `application/`.
    pub types: Vec<String>,
    /// A missing `typ` is accepted.
    pub type_optional: bool,
    /// Claims a token must have, `exp` and `sub` among them at the least.
    pub required: Vec<String>,
    pub leeway: Duration,
    /// Longest accepted `exp - iat`.
    pub max_lifetime: Option<Duration>,
    /// Refused from this instant on.
    pub until: Option<Timestamp>,
    /// Accept ID tokens (`nonce`, `at_hash`, `token_use = "id"`) and event tokens.
    pub allow_id_tokens: bool,
    /// What the issuer calls clients that log in there, for dialects that tell them.
    pub client_id: Option<String>,
}

/// Whom a foreign token must be meant for.
#[derive(Clone, Debug, PartialEq)]
pub enum Audience {
    /// One of these.
    OneOf(Vec<String>),
    /// Anybody; reported loudly.
    Any,
}

/// Where a foreign issuer's keys come from; file contents are read while checking.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerKeys {
    /// The text of a JWKS file (RFC 7517 §5).
    Jwks(String),
    /// The text of a PEM file: a public key or a certificate.
    Pem(String),
    /// A shared HMAC secret.
    Secret(Secret<Vec<u8>>),
}

/// `JWT`, `at+jwt` or none: whatever is not an ID token by its type.
const TYPES: &[&str] = &["jwt", "at+jwt"];
const REQUIRED: &[&str] = &["exp", "iss", "sub", "aud"];
/// A takeover issuer may leave out the others, never these.
const ALWAYS_REQUIRED: &[&str] = &["exp", "sub"];
const NO_KEYS: &str = "name jwks_file, public_key_file or secret";

impl Issuer {
    pub(super) fn read(mut table: Table<'_>, names: &mut Names, token: &Token) -> Self {
        let name = names.read(&mut table, None);
        if name == SELF_ISSUER {
            table.issue("name", "\"self\" is the gateway's own name among issuers");
        }
        let issuer = table.required("issuer", "the `iss` of its tokens");
        let issuer = issuer.as_ref().and_then(Item::word).unwrap_or_default();
        let until_item = table.get("until");
        let until = until_item.as_ref().and_then(read_until);
        // Judged by the key's presence, so that a misspelt day is one problem and not three.
        let is_takeover = until_item.is_some();
        let algorithms = read_algorithms(&mut table);
        let audience = read_audience(&mut table, is_takeover);
        let types = table.words("types");
        Self {
            name,
            issuer,
            required: read_required(&mut table, is_takeover, &audience),
            audience,
            keys: read_keys(&mut table, &algorithms, is_takeover),
            algorithms,
            subjects: table.words("subjects").unwrap_or_default(),
            username_claim: read_claim(&mut table, "username_claim", &["preferred_username"]),
            roles_claim: read_claim(&mut table, "roles_claim", &["roles"]),
            scopes_claim: read_claim(&mut table, "scopes_claim", &["scope"]),
            type_optional: table.bool_or("type_optional", types.is_none()),
            types: types.map_or_else(
                || owned(TYPES),
                |types| types.iter().map(|name| plain_type(name)).collect(),
            ),
            leeway: table.duration_or("leeway", token.leeway, Duration::ZERO..=MAX_LEEWAY),
            max_lifetime: table.duration("max_lifetime", MIN_TTL..=MAX_TTL),
            until,
            allow_id_tokens: table.bool_or("allow_id_tokens", false),
            client_id: table.get("client_id").as_ref().and_then(Item::word),
        }
    }

    /// Whether tokens about this `sub` are accepted.
    pub fn takes_subject(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|one| one == subject)
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// RFC 7515 §4.1.9: `application/` may be left out, and case does not matter.
fn plain_type(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
}

fn read_algorithms(table: &mut Table<'_>) -> Vec<Algorithm> {
    let Some(item) = table.required("algorithms", "for example [\"RS256\"]") else {
        return Vec::new();
    };
    let Some(list) = item.list() else { return Vec::new() };
    if list.is_empty() {
        item.issue("must name at least one algorithm");
    }
    let algorithms: Vec<Algorithm> = list.iter().filter_map(algorithm).collect();
    let symmetric = algorithms.iter().filter(|algorithm| algorithm.is_symmetric()).count();
    if symmetric > 0 && symmetric < algorithms.len() {
        // Otherwise a public key could be taken for a secret.
        item.issue("mixes HMAC and key pairs: make two issuers of it");
    }
    algorithms
}

fn read_audience(table: &mut Table<'_>, is_takeover: bool) -> Audience {
    let Some(item) = table.required("audience", "whom its tokens must be meant for: [\"…\"]")
    else {
        return Audience::Any;
    };
    if item.is_text() && item.text() == Some("any") {
        if is_takeover {
            item.warn("accepts tokens that were meant for others");
        } else {
            item.issue("is only for a takeover: name audiences, or say `until` when it ends");
        }
        return Audience::Any;
    }
    let list = item.list().unwrap_or_default();
    if list.is_empty() && !item.is_text() {
        item.issue("must name at least one audience");
    }
    Audience::OneOf(list.iter().filter_map(Item::word).collect())
}

fn read_required(table: &mut Table<'_>, is_takeover: bool, audience: &Audience) -> Vec<String> {
    let Some(item) = table.get("required") else {
        let unneeded = |name: &&&str| !(**name == "aud" && *audience == Audience::Any);
        return REQUIRED.iter().filter(unneeded).map(|&name| name.to_owned()).collect();
    };
    let required: Vec<String> =
        item.list().unwrap_or_default().iter().filter_map(Item::word).collect();
    let needed = if is_takeover { ALWAYS_REQUIRED } else { REQUIRED };
    let missing: Vec<&str> =
        needed.iter().copied().filter(|name| !required.iter().any(|has| has == name)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        item.issue(match is_takeover {
            true => format!("must have {missing} among them"),
            false => {
                format!("must have {missing} among them, or say `until` when the takeover ends")
            }
        });
    }
    required
}

/// A claim's name, or the path to it: `"realm_access.roles"`, `["https://example.com/roles"]`.
fn read_claim(table: &mut Table<'_>, key: &'static str, default: &[&str]) -> Vec<String> {
    let Some(item) = table.get(key) else { return owned(default) };
    if !item.is_text() {
        let path: Vec<String> =
            item.list().unwrap_or_default().iter().filter_map(Item::word).collect();
        if path.is_empty() {
            item.issue("must name a claim");
        }
        return path;
    }
    let text = item.text().unwrap_or_default();
    if text.contains("://") {
        item.issue(format!("is split at its dots: write [{text:?}] to name one claim"));
    } else if text.split('.').any(str::is_empty) {
        item.issue("must be a claim's name, or a path like \"realm_access.roles\"");
    }
    text.split('.').map(str::to_owned).collect()
}

fn read_keys(table: &mut Table<'_>, algorithms: &[Algorithm], is_takeover: bool) -> IssuerKeys {
    let weak = table.get("allow_weak_secret");
    let allow_weak = weak.as_ref().and_then(Item::bool).unwrap_or(false);
    if let (Some(item), true, false) = (&weak, allow_weak, is_takeover) {
        item.issue("is only for a takeover: say `until` when it ends");
    }
    table.unavailable("jwks", "save the key set to a file and name it in jwks_file");
    let given = (table.get("jwks_file"), table.get("public_key_file"), table.get("secret"));
    let is_symmetric = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
    let nothing = IssuerKeys::Jwks(String::new());
    match given {
        (Some(item), None, None) => {
            let privacy = if is_symmetric { Privacy::Secret } else { Privacy::Public };
            let Some((_, text)) = item.read_text(privacy) else { return nothing };
            report(&item, check_jwks(&text, algorithms, allow_weak));
            IssuerKeys::Jwks(text)
        }
        (None, Some(item), None) => {
            let Some((_, text)) = item.read_text(Privacy::Public) else { return nothing };
            if is_symmetric {
                item.issue("is a public key, but the algorithms are HMAC: give `secret`");
            } else if !algorithms.is_empty() {
                report(&item, check_pem(&text, algorithms));
            }
            IssuerKeys::Pem(text)
        }
        (None, None, Some(item)) => {
            if !is_symmetric && !algorithms.is_empty() {
                item.hidden_issue("is for HMAC, but the algorithms are for key pairs");
            }
            let Some(secret) = item.secret() else { return nothing };
            if !allow_weak && let Err(fault) = check_secret(secret.expose().len(), algorithms) {
                item.hidden_issue(fault);
            }
            IssuerKeys::Secret(Secret::new(secret.expose().clone().into_bytes()))
        }
        (None, None, None) => {
            table.issue("", format!("has no keys: {NO_KEYS} (discovery is not available yet)"));
            nothing
        }
        _ => {
            table.issue("", format!("has keys from two places: {NO_KEYS}, one of them"));
            nothing
        }
    }
}

fn report(item: &Item<'_>, checked: Result<(), String>) {
    if let Err(fault) = checked {
        item.issue(fault);
    }
}

/// The first instant after a day, in UTC.
fn read_until(item: &Item<'_>) -> Option<Timestamp> {
    let text = item.text()?;
    let mut parts = text.splitn(3, '-').map(|part| {
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| all_digits)
    });
    let day = match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
        (Some(year), Some(month), Some(day)) if text.len() == 10 => start_of_day(year, month, day),
        _ => None,
    };
    if day.is_none() {
        item.issue("must be a day that exists, written \"2027-03-31\"");
    }
    Some(day?.plus(Duration::from_secs(24 * 3600)))
}
