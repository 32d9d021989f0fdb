//! Asking an older Webitel whose a pair is: over HTTP, or in its database.
//!
//! Token and key mean something only together, so both go into every question and every verdict.
//! Its dates are milliseconds.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use serde_json::{Map, Value};

use super::asked::Answer;
use super::claims;
use super::credential::{X_ACCESS_TOKEN, X_KEY};
use super::foreign::IssuerError;
use super::json;
use super::jws::{Cause, Compact};
use super::verified::{Refusal, Verified};
use crate::clock::Timestamp;
use crate::config::{Issuer, SessionLookup, SessionMap, SessionSql, WebitelSessions};
use crate::database::{self, Access, Address, Database, DatabaseOptions, Row};
use crate::identity::{Identity, Role, Subject};
use crate::outbound::{self, Outbound, OutboundOptions};
use crate::secret::{Digest, SecretString, equal};

/// Longest answer.
const LARGEST: usize = 32 * 1024;

/// A date with a larger number is in milliseconds: in seconds it would be after the year 5138.
const LARGEST_SECONDS: u64 = 100_000_000_000;

/// The last date that is taken (the end of the year 9999).
const LAST: Timestamp = Timestamp::from_secs(253_402_300_799);

/// Where pairs are looked up.
#[derive(Debug)]
pub(super) struct Sessions {
    options: WebitelSessions,
    whom: Whom,
}

#[derive(Debug)]
enum Whom {
    Http(Box<Outbound>),
    Sql(Database),
}

/// What was found about a pair.
#[derive(Debug)]
struct Found {
    id: String,
    username: Option<String>,
    roles: Vec<String>,
    expires: Option<Timestamp>,
}

impl Sessions {
    pub(super) fn new(issuer: &Issuer, options: &WebitelSessions) -> Result<Self, IssuerError> {
        let whom = match &options.lookup {
            SessionLookup::Http { .. } => Whom::Http(Box::new(Outbound::new(&OutboundOptions {
                ca: issuer.ca.clone(),
                largest: LARGEST,
                ..OutboundOptions::default()
            })?)),
            SessionLookup::Sql(sql) => {
                let address = Address::parse(&sql.url, &sql.folder)?;
                let (ca, allow_plain) = (issuer.ca.clone(), sql.allow_plain);
                let options = DatabaseOptions { ca, allow_plain, ..DatabaseOptions::default() };
                Whom::Sql(Database::new(address, options, Access::Read))
            }
        };
        Ok(Self { options: options.clone(), whom })
    }

    /// How much is asked at once.
    pub(super) fn parallel(&self) -> usize {
        match &self.whom {
            Whom::Http(_) => outbound::PARALLEL,
            Whom::Sql(_) => usize::try_from(database::PARALLEL).unwrap_or(usize::MAX),
        }
    }

    /// Whose the pair is; the error says for the log why that is not known.
    pub(super) async fn ask(
        &self,
        name: &Arc<str>,
        rules: &Issuer,
        token: &SecretString,
        key: &SecretString,
    ) -> Result<Result<Answer, Refusal>, String> {
        let found = match (&self.whom, &self.options.lookup) {
            (Whom::Http(outbound), SessionLookup::Http { url, map }) => {
                over_http(outbound, url, map, token, key).await?
            }
            (Whom::Sql(database), SessionLookup::Sql(sql)) => {
                in_database(database, sql, token, key).await?
            }
            _ => return Err("it was not made for this".to_owned()),
        };
        let Some(found) = found else {
            return Ok(Err(Refusal::invalid("the legacy system knows no such pair")));
        };
        if !rules.takes_subject(&found.id) {
            let cause = "the subject is not among the issuer's `subjects`";
            return Ok(Err(Refusal::invalid(cause)));
        }
        Ok(self.answer(name, rules, found, (token, key)).map_err(Refusal::invalid))
    }

    fn answer(
        &self,
        name: &Arc<str>,
        rules: &Issuer,
        found: Found,
        (token, key): (&SecretString, &SecretString),
    ) -> Result<Answer, Cause> {
        let said = own_end(token.expose())?;
        let expires = found.expires.or(said);
        let role = |heard: &String| -> Role {
            self.options.role_names.get(heard).unwrap_or(heard).as_str().into()
        };
        let identity = Identity {
            subject: Subject::foreign(&rules.issuer, &found.id),
            username: found.username.as_deref().unwrap_or(&found.id).into(),
            source: "".into(),
            issuer: name.clone(),
            login: "".into(),
            session: None,
            roles: found.roles.iter().map(role).collect(),
            scopes: Vec::new(),
            claims: Map::new(),
        };
        let (bytes, key) = (token.expose().as_bytes(), key.expose().as_bytes());
        let verified = Verified {
            identity,
            digest: Digest::of_list(&[bytes, key]),
            token_id: None,
            issued: Timestamp::default(),
            not_before: Timestamp::default(),
            expires: expires.unwrap_or_default(),
            key_hash: Some(Digest::of(key)),
            certificate: None,
            own: false,
            store_made: Timestamp::default(),
            until: rules.until,
            leeway: rules.leeway,
            told: Default::default(),
        };
        Ok(Answer { verified, ends: expires.is_some() })
    }
}

async fn over_http(
    outbound: &Outbound,
    url: &Uri,
    map: &SessionMap,
    token: &SecretString,
    key: &SecretString,
) -> Result<Option<Found>, String> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.clone();
    let fields: [(HeaderName, &SecretString); 2] = [(X_ACCESS_TOKEN, token), (X_KEY, key)];
    for (name, value) in fields {
        let mut value = HeaderValue::from_str(value.expose()).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    let answer = outbound.send(request).await.map_err(|error| error.chain())?;
    match answer.status {
        401 | 403 | 404 => return Ok(None),
        _ if answer.is_success() => {}
        status => return Err(format!("the look-up was answered with status {status}")),
    }
    let answer = json::object(&answer.body).ok_or("the answer is no JSON object")?;
    let at = |path: &[String]| claims::at(&answer, path);
    let told = |path: &Option<Vec<String>>| match path {
        None => Ok(None),
        Some(path) => at(path).map(Some).ok_or_else(|| lacks(&path.join("."))),
    };
    found(at(&map.id), told(&map.username)?, told(&map.roles)?, told(&map.expires)?)
        .map(Some)
        .ok_or_else(|| "the answer has something of the wrong type".to_owned())
}

async fn in_database(
    database: &Database,
    sql: &SessionSql,
    token: &SecretString,
    key: &SecretString,
) -> Result<Option<Found>, String> {
    let rows = database.rows(&sql.query, &[key.expose()], 1).await;
    let rows = rows.map_err(|error| error.chain())?;
    let Some(row) = rows.first() else { return Ok(None) };
    let columns = &sql.columns;
    if row.value(&columns.token).is_none() {
        return Err(lacks(&columns.token));
    }
    let held = row.text(&columns.token).map(SecretString::new).unwrap_or_default();
    if held.expose().is_empty() || !equal(held.expose().as_bytes(), token.expose().as_bytes()) {
        return Ok(None);
    }
    let told = |name: &Option<String>| value(row, name);
    let (username, roles) = (told(&columns.username)?, told(&columns.roles)?);
    found(row.value(&columns.id), username, roles, told(&columns.expires)?)
        .map(Some)
        .ok_or_else(|| "the row has something of the wrong type".to_owned())
}

fn value<'r>(row: &'r Row, column: &Option<String>) -> Result<Option<&'r Value>, String> {
    let Some(column) = column else { return Ok(None) };
    row.value(column).map(Some).ok_or_else(|| lacks(column))
}

fn lacks(name: &str) -> String {
    format!("what was found has no `{name}`")
}

/// `None` where something has not the type that it must have.
fn found(
    id: Option<&Value>,
    username: Option<&Value>,
    roles: Option<&Value>,
    expires: Option<&Value>,
) -> Option<Found> {
    let id = text(id?).filter(|id| !id.is_empty())?;
    let expires = match expires {
        None | Some(Value::Null) => None,
        Some(value) => Some(date(value)?),
    };
    let username = username.and_then(text).filter(|name| !name.is_empty());
    let roles = match roles {
        Some(Value::Array(list)) => list.iter().filter_map(text).collect(),
        Some(value) => text(value).map(|text| names(&text)).unwrap_or_default(),
        None => Vec::new(),
    };
    Some(Found { id, username, roles, expires })
}

fn names(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Seconds or milliseconds since 1970, as a number or in digits.
fn date(value: &Value) -> Option<Timestamp> {
    let number = text(value)?.parse::<u64>().ok()?;
    let date = match number {
        0..=LARGEST_SECONDS => Timestamp::from_secs(number),
        _ => Timestamp::from_millis(number),
    };
    (date <= LAST).then_some(date)
}

/// When a token that is a JWS says that it ends.
fn own_end(token: &str) -> Result<Option<Timestamp>, Cause> {
    let Ok(claims) = Compact::parse(token).and_then(|token| token.claims()) else {
        return Ok(None);
    };
    let Some(value) = claims.get("exp") else { return Ok(None) };
    date(value).map(Some).ok_or("`exp` is no date")
}
