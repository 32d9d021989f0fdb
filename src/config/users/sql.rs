//! `kind = "sql"`: users in a database, read with a query that the operator writes.
//!
//! The gateway knows no schema. It binds the name to the query and reads the columns of the one row
//! by their names; only an optional `update` writes. Statements are checked for their placeholders
//! here and run by `users`. `SqlDatabase` is also used by issuers that look pairs up.

use std::net::IpAddr;
use std::time::Duration;

use super::placeholders::PlaceholderStyle;
use crate::config::item::SpannedValue;
use crate::config::reader::TableReader;
use crate::config::warnings::WarningName;
use crate::secret::SecretString;
use crate::settings::{AllowWeak, SqlColumn, SqlColumns, SqlDatabase, SqlUsers};

const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
/// A look-up by key takes about a millisecond; more connections would not make it faster.
const PARALLEL: usize = 8;
const SCHEMES: &str = "must begin with \"postgres://\", \"mysql://\" or \"sqlite:\", for example \"postgres://gateway@db.example/users\"";

impl SqlUsers {
    /// Reads the keys of the section. `None` if there is no usable database, which has been
    /// reported. Statements are checked as far as possible even then.
    pub(super) fn read(table: &mut TableReader<'_>) -> Option<Self> {
        let database = SqlDatabase::read(table);
        let kind = database.as_ref().map(|database| PlaceholderStyle::of(database.url.expose()));
        // The form of a placeholder depends on the database, so without a readable URL statements
        // are not checked.
        let query = table.required("query", "\"select … where name = $1\"");
        let query = query.as_ref().and_then(|item| read_query(item, kind));
        let email_query = table.get("email_query");
        let email_query = email_query.as_ref().and_then(|item| read_query(item, kind));
        let update = table.get("update").as_ref().and_then(|item| {
            let update = item.plain_name()?;
            let checked = kind.map_or(Ok(()), |kind| kind.check(&update, UPDATED));
            checked.map_err(|remedy| item.issue(remedy)).ok()?;
            Some(update)
        });
        let columns = SqlColumns::read(table.table("columns"));
        let allow_weak = AllowWeak::read(table);
        table.default_is("import", false);
        let import = table.get("import");
        let imports = import.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
        // `update` replaces weak hashes in the database itself, so there would be nothing to keep
        // here. With both, it would be unclear which of the two places decides about a password.
        if let (Some(item), true, Some(_)) = (&import, imports, &update) {
            item.issue("is of no use: `update` replaces the hashes in the database itself");
        }
        Some(Self {
            database: database?,
            query: query?,
            email_query,
            update,
            columns,
            allow_weak,
            import: imports,
        })
    }
}

/// Reads a query with a placeholder for the name. A query without one would return the same row for
/// every name, and so let everybody in as one user. The placeholder must be outside of strings and
/// comments to count.
fn read_query(item: &SpannedValue<'_>, kind: Option<PlaceholderStyle>) -> Option<String> {
    let query = item.plain_name()?;
    // The first test works for an unreadable URL too; the second one knows the database's form and
    // ignores strings and comments.
    if !query.contains("$1") && !query.contains('?') {
        item.issue("must ask for the name: \"… where name = $1\" (in MySQL and MariaDB ?)");
    } else if let Some(Err(remedy)) = kind.map(|kind| kind.check(&query, NAMED)) {
        item.issue(remedy);
    }
    Some(query)
}

/// The values bound to a query, in their order.
const NAMED: &[&str] = &["the name"];
/// The values bound to `update`, in their order.
const UPDATED: &[&str] = &["the new hash", "the name", "the old hash"];

impl SqlDatabase {
    /// Reads the database of a section. `None` if its URL is unusable, which has been reported.
    pub(in crate::config) fn read(table: &mut TableReader<'_>) -> Option<Self> {
        let item = table.required("url", "the database: { env = \"NAME\" } or { file = \"path\" }");
        let ca = table.get("ca").and_then(|item| item.read_certificates());
        // Without TLS, hashes and the gateway's own password are protected only if the database is
        // on this machine. Over a network the setting is allowed, but warned of.
        table.default_is("tls", "verify");
        let tls = table.get("tls");
        let allow_plain =
            tls.as_ref().and_then(|item| item.choice(&[("verify", false), ("none", true)]));
        let timeout = table.duration_or("timeout", TIMEOUT, TIMEOUTS);
        let parallel = table.count_or("parallel", PARALLEL, 1..=256);
        let item = item?;
        let url = if item.is_text() { read_plain_url(&item)? } else { item.secret()? };
        let Some(host) = host(url.expose()) else {
            item.hidden_issue(SCHEMES);
            return None;
        };
        let allow_plain = allow_plain.unwrap_or(false);
        if let (Some(tls), true) = (&tls, allow_plain && !is_loopback(host)) {
            tls.warn(
                WarningName::PlainDatabase,
                "sends passwords' hashes and the gateway's own password in the clear",
            );
        }
        let folder = item.reading().resolve("");
        Some(Self { url, folder, ca, allow_plain, timeout, parallel })
    }
}

/// Reads a URL that is written in the configuration. It must not contain a password.
fn read_plain_url(item: &SpannedValue<'_>) -> Option<SecretString> {
    let text = item.string()?;
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    // Only the part between `//` and the first `/` or `?` can contain a user and password. A
    // `password` parameter is looked for in the whole text.
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    if user.contains(':') || text.contains("password=") {
        item.hidden_issue("has a password in it: write { env = \"NAME\" } or { file = \"path\" }");
        return None;
    }
    item.reading().note_written(item.at(), text);
    Some(text.into())
}

/// The host of a database's URL; empty for this machine. `None` if the URL is of no known kind.
fn host(url: &str) -> Option<&str> {
    if url.strip_prefix("sqlite:").is_some_and(|path| !path.trim_start_matches('/').is_empty()) {
        return Some("");
    }
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "postgres" | "postgresql" | "mysql" | "mariadb") {
        return None;
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(match host.strip_prefix('[') {
        // An IPv6 address is in brackets, since it contains colons itself.
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    })
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "" | "localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl SqlColumns {
    fn read(mut table: TableReader<'_>) -> Self {
        let default = Self::default();
        let mut column = |key: &'static str, default: SqlColumn| {
            table.default_is(key, default.name.as_str());
            let stated = table.get(key).as_ref().and_then(SpannedValue::plain_name);
            stated.map_or(default, |name| name.as_str().into())
        };
        let id = column("id", default.id);
        let name = column("name", default.name);
        let email = column("email", default.email);
        let password = column("password", default.password);
        let roles = column("roles", default.roles);
        let scopes = column("scopes", default.scopes);
        let disabled = column("disabled", default.disabled);
        let claims = table.table("claims").entries();
        let claims =
            claims.iter().filter_map(|(claim, item)| Some((claim.clone(), item.plain_name()?)));
        let claims = claims.collect();
        Self { id, name, email, password, roles, scopes, disabled, claims }
    }
}
