//! `[[issuer]] kind = "sessions"`: tokens that a legacy system gave out, in any carrier, and pairs of
//! key and token that an older Webitel gave out (`kind = "webitel_sessions"`).
//!
//! Such a token contains no claims. Only the legacy system knows which user it belongs to; it is
//! asked over HTTP, or its database is queried. This is for a takeover, so `until` is required and
//! says when it ends.

use super::carrier::read_call_carrier;
use super::issuer_introspection::{read_cache, read_url};
use super::item::SpannedValue;
use super::reader::TableReader;
use super::warnings::WarningName;
use crate::features;
use crate::secret::SecretString;
use crate::settings::{
    LegacySessionSettings, SessionColumns, SessionKind, SessionLookup, SessionMap, SessionSql,
};

impl LegacySessionSettings {
    /// Reads the keys of the section; `None` after a problem was reported.
    pub(super) fn read(
        table: &mut TableReader<'_>,
        is_webitel: bool,
        allow_http: bool,
    ) -> Option<Self> {
        let kind = match is_webitel {
            true => {
                table
                    .refuse(&["carrier"], "is for kind = \"sessions\": an older Webitel has pairs");
                Some(SessionKind::WebitelSessions)
            }
            false => {
                let item = table.required("carrier", "where the token is: { cookie = \"SID\" }");
                let carrier = item.as_ref().and_then(read_call_carrier);
                carrier.map(|carrier| SessionKind::Sessions { carrier })
            }
        };
        let [http, sql] = table.one_of(["http", "sql"]);
        let role_names = table.table("role_names").entries();
        let role_names = role_names.into_iter();
        let role_names = role_names.filter_map(|(name, item)| Some((name, item.plain_name()?)));
        let role_names = role_names.collect();
        let cache = read_cache(table);
        let lookup = match (http, sql) {
            (Some(item), None) => read_http(item.table()?, allow_http)?,
            (None, Some(item)) => SessionLookup::Sql(read_sql(item.table()?)?),
            // Neither or both: it would be open which of the two decides.
            _ => {
                table.issue("", "must say where they are looked up: `http` or `sql`");
                return None;
            }
        };
        Some(Self { kind: kind?, lookup, role_names, cache })
    }
}

fn read_http(mut table: TableReader<'_>, allow_http: bool) -> Option<SessionLookup> {
    let url = table.required("url", "where the legacy system tells whose a token is");
    let url = url.as_ref().and_then(|item| read_url(item, allow_http));
    let mut map = table.required("map", "where in the answer the user is: { id = \"…\" }");
    let mut map = map.take().and_then(|item| item.table())?;
    let id = map.required("id", "the path to what names the user for good");
    let id = id.as_ref().and_then(read_path);
    let mut path = |key| map.get(key).as_ref().and_then(read_path);
    let username = path("username");
    let roles = path("roles");
    let expires = path("expires");
    let map = SessionMap { id: id?, username, roles, expires };
    Some(SessionLookup::Http { url: url?, map })
}

/// Reads the path to a member: its name, names joined by dots, or a list of names.
fn read_path(item: &SpannedValue<'_>) -> Option<Vec<String>> {
    let path: Vec<String> = match item.is_text() {
        true => item.plain_name()?.split('.').map(str::to_owned).collect(),
        false => item.list()?.iter().filter_map(SpannedValue::plain_name).collect(),
    };
    if path.is_empty() || path.iter().any(String::is_empty) {
        item.issue("must be a member's name, or a path like \"user.id\"");
    }
    Some(path)
}

fn read_sql(mut table: TableReader<'_>) -> Option<SessionSql> {
    if let Some(left_out) = features::left_out("sql") {
        table.issue("", left_out.to_string());
    }
    let item = table.required("url", "the database: { env = \"NAME\" }");
    let url = item.as_ref().and_then(SpannedValue::secret);
    let schemes = ["postgres:", "postgresql:", "mysql:", "mariadb:", "sqlite:"];
    // The scheme is checked here, because the database library's own message would show the
    // address, and with it a password. The message here says which schemes exist and shows nothing
    // of the address.
    let is_known = |url: &SecretString| schemes.iter().any(|name| url.expose().starts_with(name));
    if let (Some(item), Some(url)) = (&item, &url)
        && !is_known(url)
    {
        item.hidden_issue("must begin with postgres://, mysql:// or sqlite:");
    }
    table.default_is("allow_plain", false);
    let plain = table.get("allow_plain");
    let allow_plain = plain.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
    if let (Some(item), true) = (&plain, allow_plain) {
        item.warn(
            WarningName::PlainDatabase,
            "asks the database without TLS: whoever is on the way there sees every token",
        );
    }
    let query = table.required("query", "one that finds the session of a key or token");
    let query = query.as_ref().and_then(SpannedValue::plain_name);
    let mut columns = table.table("columns");
    columns.default_is("token", "token");
    columns.default_is("id", "id");
    let mut column = |key| columns.get(key).as_ref().and_then(SpannedValue::plain_name);
    let columns = SessionColumns {
        token: column("token").unwrap_or_else(|| "token".to_owned()),
        id: column("id").unwrap_or_else(|| "id".to_owned()),
        username: column("username"),
        roles: column("roles"),
        expires: column("expires"),
    };
    let folder = table.reading().resolve("");
    Some(SessionSql { url: url?, folder, allow_plain, query: query?, columns })
}
