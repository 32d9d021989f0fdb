//! `kind = "sql"`: users in a database, read by a query of the operator's.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::AllowWeak;
use super::placeholders::Placeholders;
use crate::config::Config;
use crate::config::item::Item;
use crate::config::out::{HIDDEN, Out};
use crate::config::reader::Table;
use crate::config::warnings::WarningName;
use crate::secret::SecretString;

/// Users in PostgreSQL, MySQL, MariaDB or SQLite.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlUsers {
    pub database: SqlDatabase,
    /// One row for a login name, which is the only bound value.
    pub query: String,
    /// The same for an e-mail address; without it nobody logs in by one.
    pub email_query: Option<String>,
    /// Replaces a hash: new hash, name, old hash are bound. Without it the database is only read.
    pub update: Option<String>,
    pub columns: SqlColumns,
    pub allow_weak: AllowWeak,
    /// Keep an argon2id hash here after the first login, which then decides for as long as the
    /// database's own stays the same.
    pub import: bool,
}

/// Where a database is and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlDatabase {
    /// May hold a password.
    pub url: SecretString,
    /// Whether the URL is a secret, or stands in the file.
    pub is_secret: bool,
    /// What a path in it is relative to.
    pub folder: PathBuf,
    /// PEM of a CA to believe beside the public ones.
    pub ca: Option<(PathBuf, String)>,
    /// Speak without TLS to a server that is not this machine.
    pub allow_plain: bool,
    pub timeout: Duration,
    pub parallel: usize,
}

/// Which column of the query's row holds what. Name and password have to be there, and so has
/// what the operator wrote out: he counts on that. Of the others, one that is not there says
/// nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlColumns {
    pub id: SqlColumn,
    pub name: SqlColumn,
    pub email: SqlColumn,
    pub password: SqlColumn,
    pub roles: SqlColumn,
    pub scopes: SqlColumn,
    pub disabled: SqlColumn,
    /// Claim and column.
    pub claims: Vec<(String, String)>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlColumn {
    pub name: String,
    /// Whether a query without it is refused.
    pub is_needed: bool,
}

const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
/// A look-up by key takes a millisecond; more connections than this would not make it quicker.
const PARALLEL: usize = 8;
const SCHEMES: &str = "must begin with \"postgres://\", \"mysql://\" or \"sqlite:\", for example \"postgres://gateway@db.example/users\"";

impl SqlUsers {
    /// `None` where the database is none, which has been reported then.
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        let database = SqlDatabase::read(table);
        let kind = database.as_ref().map(|database| Placeholders::of(database.url.expose()));
        let query = table.required("query", "\"select … where name = $1\"");
        let query = query.as_ref().and_then(|item| read_query(item, kind));
        let email_query = table.get("email_query");
        let email_query = email_query.as_ref().and_then(|item| read_query(item, kind));
        let update = table.get("update").as_ref().and_then(|item| {
            let update = item.word()?;
            let checked = kind.map_or(Ok(()), |kind| kind.check(&update, UPDATED));
            checked.map_err(|remedy| item.issue(remedy)).ok()?;
            Some(update)
        });
        let columns = SqlColumns::read(table.table("columns"));
        let allow_weak = AllowWeak::read(table);
        let import = table.get("import");
        let imports = import.as_ref().and_then(Item::bool).unwrap_or(false);
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

    pub(super) fn print(&self, out: Out, config: &Config) -> Out {
        // One that was not written out would be needed if it were.
        let named = self.columns.named().into_iter().filter(|(_, column)| column.is_needed);
        let named = named.fold(Out::default(), |out, (key, column)| out.text(key, &column.name));
        let claims = self.columns.claims.iter();
        let claims = claims.fold(Out::default(), |out, (claim, column)| out.text(claim, column));
        self.database
            .print(out.text("kind", "sql"), config)
            .text("query", &self.query)
            .maybe("email_query", self.email_query.as_deref())
            .maybe("update", self.update.as_deref())
            .texts("allow_weak", self.allow_weak.names())
            .flag("import", self.import)
            .sub("columns", named.sub("claims", claims.table()).table())
    }
}

/// A query that asks for something that is bound: one without a placeholder answers the same for
/// every name.
fn read_query(item: &Item<'_>, kind: Option<Placeholders>) -> Option<String> {
    let query = item.word()?;
    if !query.contains("$1") && !query.contains('?') {
        item.issue("must ask for the name: \"… where name = $1\" (in MySQL and MariaDB ?)");
    } else if let Some(Err(remedy)) = kind.map(|kind| kind.check(&query, NAMED)) {
        item.issue(remedy);
    }
    Some(query)
}

/// What is bound to a query.
const NAMED: &[&str] = &["the name"];
/// What is bound to `update`.
const UPDATED: &[&str] = &["the new hash", "the name", "the old hash"];

impl SqlDatabase {
    /// `None` where the URL is none, which has been reported then.
    pub(in crate::config) fn read(table: &mut Table<'_>) -> Option<Self> {
        let item = table.required("url", "the database: { env = \"NAME\" } or { file = \"path\" }");
        let ca = table.get("ca").and_then(|item| item.read_certificates());
        let tls = table.get("tls");
        let allow_plain =
            tls.as_ref().and_then(|item| item.choice(&[("verify", false), ("none", true)]));
        let timeout = table.duration_or("timeout", TIMEOUT, TIMEOUTS);
        let parallel = table.count_or("parallel", PARALLEL, 1..=256);
        let item = item?;
        let is_secret = !item.is_text();
        let url = if is_secret { item.secret()? } else { read_plain_url(&item)? };
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
        Some(Self { url, is_secret, folder, ca, allow_plain, timeout, parallel })
    }

    pub(in crate::config) fn print(&self, out: Out, config: &Config) -> Out {
        let url = if self.is_secret { HIDDEN } else { self.url.expose() };
        out.text("url", url)
            .maybe("ca", self.ca.as_ref().map(|(path, _)| config.relative(path).display()))
            .text("tls", if self.allow_plain { "none" } else { "verify" })
            .time("timeout", self.timeout)
            .int("parallel", self.parallel)
    }
}

/// A URL that stands in the file: without a password.
fn read_plain_url(item: &Item<'_>) -> Option<SecretString> {
    let text = item.text()?;
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    if user.contains(':') || text.contains("password=") {
        item.hidden_issue("has a password in it: write { env = \"NAME\" } or { file = \"path\" }");
        return None;
    }
    Some(text.into())
}

/// The host of a database's URL; empty for this machine, `None` for what is no such URL.
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
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    })
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "" | "localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl From<&str> for SqlColumn {
    /// A column that is needed.
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), is_needed: true }
    }
}

impl Default for SqlColumns {
    fn default() -> Self {
        let optional = |name: &str| SqlColumn { name: name.to_owned(), is_needed: false };
        Self {
            id: optional("id"),
            name: "name".into(),
            email: optional("email"),
            password: "password".into(),
            roles: optional("roles"),
            scopes: optional("scopes"),
            disabled: optional("disabled"),
            claims: Vec::new(),
        }
    }
}

impl SqlColumns {
    /// Every column that is read.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let own = self.named().into_iter().map(|(_, column)| column.name.as_str());
        own.chain(self.claims.iter().map(|(_, column)| column.as_str()))
    }

    /// Those that a query has to have.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        let own = self.named().into_iter().filter(|(_, column)| column.is_needed);
        let own = own.map(|(_, column)| column.name.as_str());
        own.chain(self.claims.iter().map(|(_, column)| column.as_str()))
    }

    /// All but those of claims, by their keys in the configuration.
    fn named(&self) -> [(&'static str, &SqlColumn); 7] {
        let Self { id, name, email, password, roles, scopes, disabled, claims: _ } = self;
        [
            ("id", id),
            ("name", name),
            ("email", email),
            ("password", password),
            ("roles", roles),
            ("scopes", scopes),
            ("disabled", disabled),
        ]
    }

    fn read(mut table: Table<'_>) -> Self {
        let default = Self::default();
        let mut column = |key: &'static str, default: SqlColumn| {
            let stated = table.get(key).as_ref().and_then(Item::word);
            stated.map_or(default, |name| name.as_str().into())
        };
        let (id, name) = (column("id", default.id), column("name", default.name));
        let (email, password) =
            (column("email", default.email), column("password", default.password));
        let (roles, scopes) = (column("roles", default.roles), column("scopes", default.scopes));
        let disabled = column("disabled", default.disabled);
        let claims = table.table("claims").entries();
        let claims = claims.iter().filter_map(|(claim, item)| Some((claim.clone(), item.word()?)));
        let claims = claims.collect();
        Self { id, name, email, password, roles, scopes, disabled, claims }
    }
}
