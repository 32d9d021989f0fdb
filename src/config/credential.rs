//! `credential` of an `[[upstream]]`: the credential that the gateway itself presents to the
//! upstream.
//!
//! It is sent with every request, in place of the client's own. It can be fixed (Basic, Bearer,
//! header fields), the result of a login in a dialect, a token that is made for each user (`mint`), or what the
//! legacy system gave the caller (`session`). Secrets come from variables or files only; messages about
//! them never show a value.

use http::Uri;
use http::header::{HeaderName, HeaderValue};

use super::headers::is_framing;
use super::item::{SpannedValue, choice_of};
use super::own_dialects::KnownDialects;
use super::reader::TableReader;
use super::references::References;
use super::session_credential::SESSION;
use crate::dialect::client::ProgramCredential;
use crate::dialect::{Dialect, EndpointStep};
use crate::secret::SecretString;
use crate::settings::{MintSettings, UpstreamCredential, UpstreamLogin};

const KINDS: &str = "write \"session\" or { session = NAME }, or one of { basic = {…} }, { bearer = {…} }, { headers = {…} }, { login = {…} }, { mint = {…} }";

impl UpstreamCredential {
    /// Reads the credential. `base` is the URL of the upstream's first server that has one; a login
    /// goes there unless the operator names another address. `None` after a problem was reported. A
    /// value that could be a secret is hidden in the message.
    pub(super) fn read(
        item: &SpannedValue<'_>,
        known: &References,
        base: Option<&str>,
    ) -> Option<Self> {
        item.record(choice_of([SESSION]));
        if !item.is_probe() && item.is_text() {
            if item.string() == Some(SESSION) {
                return known.keeping.only(item).map(Self::Session);
            }
            // It may be a secret.
            item.hidden_issue(KINDS);
            return None;
        }
        // All keys are asked for at once. A key that is not asked for would be reported as
        // unknown, although it is only one too many.
        let mut table = item.table()?;
        match table.one_of(["basic", "bearer", "headers", "login", "mint", SESSION]).into() {
            (Some(basic), None, None, None, None, None) => {
                if !basic.is_probe() && basic.is_text() {
                    basic.hidden_issue(
                        "must be { username = \"…\", password = { env = \"NAME\" } }",
                    );
                    return None;
                }
                let (username, password) = read_pair(&mut basic.table()?)?;
                Some(Self::Basic { username, password })
            }
            (None, Some(bearer), None, None, None, None) => {
                Some(Self::Bearer(field_value(&bearer, bearer.secret()?)?))
            }
            (None, None, Some(headers), None, None, None) => read_headers(&headers),
            (None, None, None, Some(login), None, None) => {
                UpstreamLogin::read(&login, &known.dialects, base).map(Self::Login)
            }
            (None, None, None, None, Some(mint), None) => {
                MintSettings::read(&mint).map(Box::new).map(Self::Mint)
            }
            (None, None, None, None, None, Some(session)) => {
                known.keeping.refer(&session, &known.users).map(Self::Session)
            }
            _ => {
                table.issue("", format!("has to be one thing: {KINDS}"));
                None
            }
        }
    }
}

impl UpstreamLogin {
    fn read(item: &SpannedValue<'_>, dialects: &KnownDialects, base: Option<&str>) -> Option<Self> {
        // Everything is read before anything can return, so that all problems are reported at once.
        let mut table = item.table()?;
        let pair = read_pair(&mut table);
        let client = read_program(&mut table);
        let url = table.get("url");
        let url = match &url {
            Some(url) => read_url(url),
            None => base.and_then(|base| base.parse().ok()).or_else(|| {
                table.issue("url", "is missing: the upstream has no server that is a URL");
                None
            }),
        };
        let dialect_item = table.required("dialect", "whose login the upstream speaks");
        let dialect = dialect_item.as_ref().and_then(|item| dialects.refer(item));
        if let (Some(item), Some(dialect)) = (&dialect_item, &dialect)
            && !dialect.endpoints.iter().any(|endpoint| endpoint.step == EndpointStep::Login)
        {
            item.issue("has no login");
        }
        check_program(&table, dialect.as_deref(), client.as_ref());
        let (username, password) = pair?;
        Some(Self { dialect: dialect?, url: url?, username, password, client })
    }
}

fn read_url(item: &SpannedValue<'_>) -> Option<Uri> {
    let text = item.plain_name()?;
    let uri: Option<Uri> = text.parse().ok();
    // A query would end up before the dialect's path, and a user before `@` would be a second
    // credential.
    let good = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && !text.contains('@')
    });
    if good.is_none() {
        item.hidden_issue("must be http://host or https://host, perhaps with a path");
    }
    good
}

fn read_pair(table: &mut TableReader<'_>) -> Option<(String, SecretString)> {
    let username = table.required("username", "whom the gateway logs in as");
    let password = table.required("password", "{ env = \"NAME\" } or { file = \"path\" }");
    let username = username.as_ref().and_then(SpannedValue::plain_name);
    let password = password.and_then(|item| item.secret());
    username.zip(password)
}

/// Reads `client`: the gateway's own id and secret as a program that asks a system.
pub(super) fn read_program(table: &mut TableReader<'_>) -> Option<ProgramCredential> {
    let mut table = table.get("client")?.table()?;
    let id = table.required("id", "the program's id, as the system knows it");
    let id = id.as_ref().and_then(SpannedValue::plain_name);
    let secret = table.get("secret").and_then(|item| item.secret());
    Some(ProgramCredential { id: id?, secret })
}

/// Reports a program's credential that no endpoint of the dialect has a place for.
pub(super) fn check_program(
    table: &TableReader<'_>,
    dialect: Option<&Dialect>,
    client: Option<&ProgramCredential>,
) {
    if client.is_some() && dialect.is_some_and(|dialect| !dialect.asks_for_program()) {
        table.issue("client", "is of no use: the dialect has no place for a program (`client`)");
    }
}

/// Reads header fields with secret values. Fields that frame a message cannot be used.
fn read_headers(item: &SpannedValue<'_>) -> Option<UpstreamCredential> {
    let mut fields = Vec::new();
    for (name, item) in item.table()?.entries() {
        let name = match HeaderName::try_from(name.as_str()) {
            Ok(name) if !is_framing(name.as_str()) => name,
            _ => {
                item.hidden_issue("is no field that a credential can be sent in");
                continue;
            }
        };
        let Some(value) = item.secret().and_then(|value| field_value(&item, value)) else {
            continue;
        };
        fields.push((name, value));
    }
    if fields.is_empty() {
        item.issue("must name at least one field");
        return None;
    }
    Some(UpstreamCredential::Headers(fields))
}

/// Checks that a header field can carry the secret. Line breaks, for example, would end the field.
fn field_value(item: &SpannedValue<'_>, value: SecretString) -> Option<SecretString> {
    if HeaderValue::from_str(value.expose()).is_err() {
        item.hidden_issue("has bytes that a header field cannot carry");
        return None;
    }
    Some(value)
}
