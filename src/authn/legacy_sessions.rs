//! Looks up tokens, and pairs of token and key, that a legacy system gave out: over HTTP or in its
//! database.
//!
//! Token and key of a pair are valid only together, so every lookup and every verdict covers both.
//! Over HTTP the token is where clients have it. Dates may be in seconds or in milliseconds, or in
//! the form of RFC 3339. `opaque` calls it on the background runtime.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use serde_json::Value;

use super::claims::{self, TokenDates};
use super::credential::TokenCredential;
use super::issuer_rules::IssuerError;
use super::jws::{CompactJws, RefusalCause};
use super::lookup_cache::LookupAnswer;
use super::strict_json;
use super::token_place::TokenPlace;
use super::verified::{IssuerTerms, TokenBinding, TokenError, VerifiedCredential};
use crate::clock::Timestamp;
use crate::database::{self, AccessMode, Database, DatabaseAddress, DatabaseOptions, QueryRow};
use crate::dialect::{CallCarrier, Carrier};
use crate::headers::set_carried;
use crate::identity::{Identity, Role, Subject};
use crate::outbound::{self, OutboundClient, OutboundOptions};
use crate::secret::{Digest, SecretString, equal};
use crate::settings::{
    IssuerSettings, LegacySessionSettings, SessionLookup, SessionMap, SessionSql,
};

/// Largest accepted answer in bytes.
const LARGEST: usize = 32 * 1024;

/// A larger number is a date in milliseconds: as seconds it would be after the year 5138.
const LARGEST_SECONDS: u64 = 100_000_000_000;

/// The latest accepted date (the end of the year 9999).
const LAST: Timestamp = Timestamp::from_secs(253_402_300_799);

/// The place where tokens are looked up.
#[derive(Debug)]
pub(super) struct SessionClient {
    options: LegacySessionSettings,
    /// Where clients have the token, and the key if there is one.
    carrier: CallCarrier,
    /// The same places in one spelling.
    places: Vec<Carrier>,
    backend: SessionBackend,
}

/// The client for the lookup.
#[derive(Debug)]
enum SessionBackend {
    Http(Box<OutboundClient>),
    Sql(Database),
}

/// The data of a token that was found.
#[derive(Debug)]
struct SessionRow {
    id: String,
    username: Option<String>,
    roles: Vec<String>,
    expires: Option<Timestamp>,
}

impl SessionClient {
    /// Fails if the certificate authority cannot be loaded or the database address cannot be
    /// parsed. The database is opened for reading only. It belongs to the legacy system, which is
    /// to stay unchanged.
    pub(super) fn new(
        issuer: &IssuerSettings,
        options: &LegacySessionSettings,
    ) -> Result<Self, IssuerError> {
        let backend = match &options.lookup {
            SessionLookup::Http { .. } => {
                SessionBackend::Http(Box::new(OutboundClient::new(&OutboundOptions {
                    ca: issuer.ca.clone(),
                    largest: LARGEST,
                    ..OutboundOptions::default()
                })?))
            }
            SessionLookup::Sql(sql) => {
                let address = DatabaseAddress::parse(&sql.url, &sql.folder)?;
                let ca = issuer.ca.clone();
                let allow_plain = sql.allow_plain;
                let options = DatabaseOptions { ca, allow_plain, ..DatabaseOptions::default() };
                SessionBackend::Sql(Database::new(address, options, AccessMode::Read))
            }
        };
        let carrier = options.kind.carrier();
        let places = carrier.folded().places().into_iter().cloned().collect();
        Ok(Self { options: options.clone(), carrier, places, backend })
    }

    /// Asks whether the legacy system or the database is there, and whether the database understands
    /// the query. No token is asked about.
    ///
    /// # Errors
    /// The reason why it cannot be reached, for the operator.
    pub(super) async fn reach(&self) -> Result<&'static str, String> {
        match (&self.backend, &self.options.lookup) {
            (SessionBackend::Http(outbound), SessionLookup::Http { url, .. }) => {
                outbound.reach(url).await.map_err(|error| error.chain())?;
                Ok("connected")
            }
            (SessionBackend::Sql(database), SessionLookup::Sql(sql)) => {
                database.columns(&sql.query).await.map_err(|error| error.chain())?;
                Ok("connected, and the query is understood")
            }
            _ => Err("it was not made for this".to_owned()),
        }
    }

    /// How many lookups may be under way at once.
    pub(super) fn parallel(&self) -> usize {
        match &self.backend {
            SessionBackend::Http(_) => outbound::PARALLEL,
            SessionBackend::Sql(_) => usize::try_from(database::PARALLEL).unwrap_or(usize::MAX),
        }
    }

    /// True if clients of the system have their token in this place, and present it like this.
    pub(super) fn has_tokens_at(
        &self,
        place: TokenPlace<'_>,
        credential: &TokenCredential,
    ) -> bool {
        let is_pair = credential.key().is_some();
        is_pair == (self.places.len() > 1)
            && match place {
                TokenPlace::Carrier(places) => places == self.places,
                TokenPlace::Usual => {
                    let usual = match is_pair {
                        true => CallCarrier::usual_pair(),
                        false => CallCarrier::Token(Carrier::bearer()),
                    };
                    self.carrier.folded() == usual.folded()
                }
            }
    }

    /// Looks a token or pair up. The outer error is for the log and means that the answer is not
    /// known; the inner one is a refusal.
    pub(super) async fn ask(
        &self,
        name: &Arc<str>,
        rules: &IssuerSettings,
        credential: &TokenCredential,
    ) -> Result<Result<LookupAnswer, TokenError>, String> {
        let found = match (&self.backend, &self.options.lookup) {
            (SessionBackend::Http(outbound), SessionLookup::Http { url, map }) => {
                let request = self.request(url, credential)?;
                over_http(outbound, request, map).await?
            }
            (SessionBackend::Sql(database), SessionLookup::Sql(sql)) => {
                in_database(database, sql, credential).await?
            }
            _ => return Err("the lookup is not of the configured kind".to_owned()),
        };
        let Some(found) = found else {
            return Ok(Err(TokenError::invalid("the legacy system knows no such token")));
        };
        if !rules.takes_subject(&found.id) {
            let cause = "the subject is not among the issuer's `subjects`";
            return Ok(Err(TokenError::invalid(cause)));
        }
        Ok(self.answer(name, rules, found, credential).map_err(TokenError::invalid))
    }

    /// A request with token and key in the places in which the client presented them.
    fn request(&self, url: &Uri, credential: &TokenCredential) -> Result<Request<Bytes>, String> {
        let mut uri = url.clone();
        let mut headers = HeaderMap::new();
        let values = [Some(credential.token()), credential.key()];
        for (place, value) in self.carrier.places().into_iter().zip(values) {
            let set = set_carried(&mut uri, &mut headers, place, value);
            set.map_err(|error| error.to_string())?;
        }
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The identity and expiry of a token that was found. The expiry is the legacy system's, or else
    /// the token's own.
    fn answer(
        &self,
        name: &Arc<str>,
        rules: &IssuerSettings,
        found: SessionRow,
        credential: &TokenCredential,
    ) -> Result<LookupAnswer, RefusalCause> {
        let said = own_end(credential.token().expose())?;
        let expires = found.expires.or(said);
        let role = |role_name: &String| -> Role {
            self.options.role_names.get(role_name).unwrap_or(role_name).as_str().into()
        };
        let subject = Subject::foreign(&rules.issuer, &found.id);
        let username = found.username.as_deref().unwrap_or(&found.id);
        let identity = Identity {
            roles: found.roles.iter().map(role).collect(),
            ..Identity::new(name.clone(), subject, username)
        };
        let bytes = credential.token().expose().as_bytes();
        let key = credential.key().map(|key| key.expose().as_bytes());
        let digest = match key {
            None => Digest::of_list(&[bytes]),
            Some(key) => Digest::of_list(&[bytes, key]),
        };
        let binding = key.map_or(TokenBinding::Nothing, |key| TokenBinding::Key(Digest::of(key)));
        let dates = TokenDates { expires, ..TokenDates::default() };
        let terms = IssuerTerms::external(rules);
        let verified = VerifiedCredential::token(identity, digest, None, dates, binding, terms);
        Ok(LookupAnswer { verified, ends: expires.is_some() })
    }
}

/// Looks a token up over HTTP.
async fn over_http(
    outbound: &OutboundClient,
    request: Request<Bytes>,
    map: &SessionMap,
) -> Result<Option<SessionRow>, String> {
    let answer = outbound.send(request).await.map_err(|error| error.chain())?;
    match answer.status {
        // These codes mean that the legacy system refuses the token. All other failures mean that
        // the answer is not known, and are not remembered.
        401 | 403 | 404 => return Ok(None),
        _ if answer.is_success() => {}
        status => return Err(format!("the look-up was answered with status {status}")),
    }
    let answer = strict_json::object(&answer.body).ok_or("the answer is no JSON object")?;
    let at = |path: &[String]| claims::at(&answer, path);
    // Some systems answer whoever is not logged in that they are nobody.
    if at(&map.id).is_some_and(is_nobody) {
        return Ok(None);
    }
    let read = |path: &Option<Vec<String>>| match path {
        None => Ok(None),
        Some(path) => at(path).map(Some).ok_or_else(|| lacks(&path.join("."))),
    };
    found(at(&map.id), read(&map.username)?, read(&map.roles)?, read(&map.expires)?)
        .map(Some)
        .ok_or_else(|| "the answer has something of the wrong type".to_owned())
}

/// True for an id that names nobody: null, or zero, which many systems have for visitors.
fn is_nobody(id: &Value) -> bool {
    match id {
        Value::Null => true,
        Value::String(text) => text.trim() == "0",
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// Looks a token up in the database. `None` if there is no row, or if the row has another token. The
/// error is for the log and means that the answer is not known.
async fn in_database(
    database: &Database,
    sql: &SessionSql,
    credential: &TokenCredential,
) -> Result<Option<SessionRow>, String> {
    // Only the key of a pair is a parameter of the statement, so that the database's query log never
    // contains the token. Either way the token is compared here, in constant time: a database may
    // ignore case or spaces at the end.
    let token = credential.token();
    let wanted = credential.key().unwrap_or(token);
    let rows = database.rows(&sql.query, &[wanted.expose()], 1).await;
    let rows = rows.map_err(|error| error.chain())?;
    let Some(row) = rows.first() else { return Ok(None) };
    let columns = &sql.columns;
    // A missing column is a fault of the configuration and not of the client. It must become 503,
    // because a refusal would be blamed on the token.
    if row.value(&columns.token).is_none() {
        return Err(lacks(&columns.token));
    }
    let stored = row.text(&columns.token).map(SecretString::new).unwrap_or_default();
    if stored.expose().is_empty() || !equal(stored.expose().as_bytes(), token.expose().as_bytes()) {
        return Ok(None);
    }
    let read = |name: &Option<String>| value(row, name);
    let username = read(&columns.username)?;
    let roles = read(&columns.roles)?;
    found(row.value(&columns.id), username, roles, read(&columns.expires)?)
        .map(Some)
        .ok_or_else(|| "the row has something of the wrong type".to_owned())
}

/// The value of a configured column; an error if the row has no such column.
fn value<'r>(row: &'r QueryRow, column: &Option<String>) -> Result<Option<&'r Value>, String> {
    let Some(column) = column else { return Ok(None) };
    row.value(column).map(Some).ok_or_else(|| lacks(column))
}

/// The error for a missing column or member.
fn lacks(name: &str) -> String {
    format!("what was found has no `{name}`")
}

/// Builds the result; `None` if a value has the wrong type.
fn found(
    id: Option<&Value>,
    username: Option<&Value>,
    roles: Option<&Value>,
    expires: Option<&Value>,
) -> Option<SessionRow> {
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
    Some(SessionRow { id, username, roles, expires })
}

/// Role names in a text that is separated by spaces or commas.
fn names(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A string, or a number as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A date in seconds or milliseconds since 1970, as a number or as digits, or in the form of RFC
/// 3339.
fn date(value: &Value) -> Option<Timestamp> {
    let text = text(value)?;
    let date = match text.parse::<u64>() {
        Ok(number @ 0..=LARGEST_SECONDS) => Timestamp::from_secs(number),
        Ok(number) => Timestamp::from_millis(number),
        Err(_) => Timestamp::from_rfc3339(&text)?,
    };
    (date <= LAST).then_some(date)
}

/// The `exp` claim of a token that is a JWS. The signature is not verified here: the legacy system
/// has accepted the pair, and the claim can only shorten its life.
fn own_end(token: &str) -> Result<Option<Timestamp>, RefusalCause> {
    let Ok(claims) = CompactJws::parse(token).and_then(|token| token.claims()) else {
        return Ok(None);
    };
    let Some(value) = claims.get("exp") else { return Ok(None) };
    date(value).map(Some).ok_or("`exp` is no date")
}
