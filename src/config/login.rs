//! `[[login]]` and `[login_limits]`: dialects served to clients, and brute force.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::cors;
use super::item::Item;
use super::known::Known;
use super::path::{check_exact, host};
use super::process::cores;
use super::reader::Table;
use super::token::{MAX_GRACE, MAX_TTL, MIN_TTL, read_algorithm, read_audience};
use super::warnings::WarningName;
use crate::algorithm::Algorithm;
use crate::dialect::{BearerUse, Cors, CredentialForm, Dialect};

/// A dialect served to clients.
#[derive(Clone, Debug)]
pub struct Login {
    /// `client_id` of its tokens; unique.
    pub name: String,
    pub dialect: Arc<Dialect>,
    /// Put before the dialect's paths; "" or "/something" without a slash at its end.
    pub prefix: String,
    /// Lower-cased host names; `*` for all.
    pub hosts: Vec<String>,
    /// Names of user sources, in the order they are asked.
    pub users: Vec<String>,
    /// Names of issuers whose tokens may be traded for ours.
    pub exchange: Vec<String>,
    /// How long a session lives at most that was traded for one.
    pub exchange_ttl: Duration,
    /// This login's own over the dialect's over `[token]`, resolved.
    pub access_ttl: Duration,
    pub refresh_ttl: Duration,
    pub refresh_idle: Option<Duration>,
    pub refresh_grace: Duration,
    pub algorithm: Algorithm,
    pub issuer: String,
    pub audience: Vec<String>,
    pub cors: Option<Arc<Cors>>,
    /// Whether an unknown user is told from a wrong password, where the dialect has two answers.
    pub reveal_unknown_user: bool,
    /// Whether a user's authenticator is asked for.
    pub totp: bool,
    /// Tenant headers that must match one pair, where the login lists tenants (aviate).
    pub tenants: Vec<Tenant>,
    /// Values for the dialect's `$config.…` placeholders.
    pub about: serde_json::Map<String, serde_json::Value>,
    /// Largest body of a login request in bytes.
    pub body_limit: u64,
}

/// A pair of tenant headers that a login accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    pub api_key: String,
    pub api_secret: crate::secret::SecretString,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub attempts: u32,
    pub per: Duration,
}

/// How brute force is held back.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginLimits {
    pub per_account: Rate,
    pub per_address: Rate,
    pub hashing: Hashing,
    /// Sessions one user may have at once; the oldest is ended.
    pub sessions_per_user: NonZeroUsize,
    /// Sessions that one user may begin, whatever becomes of them.
    pub new_sessions_per_user: Rate,
}

/// The password pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashing {
    /// Threads that hash.
    pub parallel: usize,
    /// Logins that may wait for one.
    pub queue: usize,
}

/// Names, passwords and tokens are small; a larger body is no login.
const BODY_LIMIT: u64 = 64 << 10;
const LARGEST_BODY: u64 = 1 << 20;

impl Login {
    /// `None` where there is no such dialect, which has been reported then.
    pub(super) fn read(mut table: Table<'_>, known: &mut Known) -> Option<Self> {
        let dialect = table.required("dialect", "for example \"native\"");
        let dialect = dialect.as_ref().and_then(|item| known.dialects.refer(item));
        let default_name = dialect.as_ref().map(|dialect| dialect.name.as_str());
        let name = known.logins.read(&mut table, Some(default_name.unwrap_or_default()));
        let prefix = table.get("prefix").as_ref().and_then(read_prefix).unwrap_or_default();
        let hosts = read_hosts(&mut table);
        let users_item = table.get("users");
        let users = match &users_item {
            Some(item) => known.users.refer_all(&item.list().unwrap_or_default()),
            None => known.users.iter().map(str::to_owned).collect(),
        };
        let (exchange, reveal) = (table.get("exchange"), table.get("reveal_unknown_user"));
        let exchange_ttl = table.get("exchange_ttl");
        let lives = Lives::read(&mut table);
        let algorithm = read_algorithm(&mut table);
        let issuer = table.get("issuer").as_ref().and_then(Item::word);
        let audience = read_audience(&mut table);
        let cors_item = table.get("cors");
        let tenants = table.list("tenants").iter().filter_map(Tenant::read).collect();
        let about = table.table("about").entries();
        let totp = table.bool_or("totp", true);
        let body_limit = table.size_or("body_limit", BODY_LIMIT, 1 << 10..=LARGEST_BODY);

        let dialect = dialect?;
        let exchange =
            exchange.map(|item| read_exchange(&item, &dialect, known)).unwrap_or_default();
        let names_somebody = users_item.is_some_and(|item| !item.is_empty_list());
        let is_nobody = users.is_empty() && exchange.is_empty() && !names_somebody;
        if is_nobody && !known.users.is_incomplete() {
            table.issue("users", "has nobody who could log in: add a [[users]]");
        }
        let lives = lives.resolve(&table, &dialect, known);
        let own_cors = cors_item.and_then(|item| cors::read(&item, dialect.cors.as_ref()));
        Some(Self {
            name,
            prefix,
            hosts,
            users,
            exchange,
            exchange_ttl: read_exchange_ttl(exchange_ttl, lives.refresh),
            access_ttl: lives.access,
            refresh_ttl: lives.refresh,
            refresh_idle: lives.idle,
            refresh_grace: lives.grace,
            algorithm: algorithm.or(dialect.defaults.algorithm).unwrap_or(known.token.algorithm),
            issuer: issuer.unwrap_or_else(|| known.token.issuer.clone()),
            audience: audience.unwrap_or_else(|| known.token.audience.clone()),
            cors: own_cors.or_else(|| dialect.cors.clone()).map(Arc::new),
            reveal_unknown_user: read_reveal(reveal, &dialect),
            totp,
            tenants,
            about: about.into_iter().map(|(name, item)| (name, item.json())).collect(),
            body_limit,
            dialect,
        })
    }
}

/// `hosts` of a login or route; all where it is left out.
pub(super) fn read_hosts(table: &mut Table<'_>) -> Vec<String> {
    let Some(item) = table.get("hosts") else { return vec!["*".to_owned()] };
    let Some(list) = item.list() else { return Vec::new() };
    if list.is_empty() {
        item.issue("must name at least one host, or [\"*\"] for all");
    }
    let mut hosts: Vec<String> = Vec::with_capacity(list.len());
    for item in &list {
        match item.text().map(host) {
            Some(Ok(host)) if hosts.contains(&host) => item.issue("stands here twice"),
            Some(Ok(host)) => hosts.push(host),
            Some(Err(remedy)) => item.issue(remedy),
            None => {}
        }
    }
    hosts
}

fn read_prefix(item: &Item<'_>) -> Option<String> {
    let prefix = item.text()?;
    if prefix.is_empty() {
        return None;
    }
    if let Err(remedy) = check_exact(prefix) {
        item.issue(remedy);
    } else if prefix.ends_with('/') {
        item.issue("must be without a slash at its end: the dialect's paths begin with one");
    }
    Some(prefix.to_owned())
}

/// Nobody can be asked later whether the issuer still lets its user in, so a traded session ends
/// before the user has to log in there again anyway.
fn read_exchange_ttl(item: Option<Item<'_>>, refresh_ttl: Duration) -> Duration {
    let Some(item) = item else { return EXCHANGE_TTL.min(refresh_ttl) };
    let life = item.duration(MIN_TTL..=MAX_TTL).unwrap_or(refresh_ttl);
    if life > refresh_ttl {
        item.issue("is longer than any session of this login (refresh_ttl)");
    }
    life.min(refresh_ttl)
}

fn read_exchange(item: &Item<'_>, dialect: &Dialect, known: &Known) -> Vec<String> {
    let trades = CredentialForm::Bearer(BearerUse::Exchange);
    if !dialect.endpoints.iter().any(|endpoint| endpoint.credential.contains(&trades)) {
        item.issue(format!("is of no use: dialect \"{}\" trades no tokens", dialect.name));
        return Vec::new();
    }
    known.issuers.refer_all(&item.list().unwrap_or_default())
}

/// The dialect's own habit unless the login says otherwise.
fn read_reveal(item: Option<Item<'_>>, dialect: &Dialect) -> bool {
    let tells = dialect.tells_unknown_user;
    let Some(item) = item else { return tells };
    let reveal = item.bool().unwrap_or(false);
    if reveal && !tells {
        item.issue(format!("dialect \"{}\" has one answer for both", dialect.name));
    }
    reveal && tells
}

/// How long things live, as the login says it.
struct Lives<'a> {
    access: Option<Item<'a>>,
    refresh: Option<Item<'a>>,
    idle: Option<Item<'a>>,
    grace: Option<Duration>,
}

/// How long things live, resolved.
struct Resolved {
    access: Duration,
    refresh: Duration,
    idle: Option<Duration>,
    grace: Duration,
}

impl<'a> Lives<'a> {
    fn read(table: &mut Table<'a>) -> Self {
        Self {
            access: table.get("access_ttl"),
            refresh: table.get("refresh_ttl"),
            idle: table.get("refresh_idle"),
            grace: table.duration("refresh_grace", Duration::ZERO..=MAX_GRACE),
        }
    }

    /// The login's own over the dialect's over `[token]`.
    fn resolve(self, table: &Table<'_>, dialect: &Dialect, known: &Known) -> Resolved {
        let (token, defaults) = (&known.token, &dialect.defaults);
        let read = |item: &Option<Item<'_>>| item.as_ref()?.duration(MIN_TTL..=MAX_TTL);
        let access = read(&self.access).or(defaults.access_ttl).unwrap_or(token.access_ttl);
        let grace = self.grace.unwrap_or(token.refresh_grace);
        if defaults.ends_with_access {
            for item in [&self.refresh, &self.idle].into_iter().flatten() {
                let name = &dialect.name;
                item.issue(format!("sessions of \"{name}\" end with access_ttl: set that"));
            }
            return Resolved { access, refresh: access, idle: None, grace };
        }
        let refresh = read(&self.refresh).or(defaults.refresh_ttl).unwrap_or(token.refresh_ttl);
        if access > refresh {
            let remedy = "an access token may not outlive its session (refresh_ttl)";
            table.report("access_ttl", self.access.as_ref(), remedy.to_owned());
        }
        // A session that ends before it could be called idle has no use for the dialect's default.
        let idle = read(&self.idle).or(defaults.refresh_idle.filter(|idle| *idle <= refresh));
        if let (Some(item), Some(idle)) = (&self.idle, idle)
            && idle > refresh
        {
            item.issue("is longer than the session itself (refresh_ttl)");
        }
        Resolved { access, refresh, idle, grace }
    }
}

impl Tenant {
    fn read(item: &Item<'_>) -> Option<Self> {
        let mut table = item.table()?;
        let api_key = table.required("api_key", "the tenant's name in X-Killbill-ApiKey");
        let api_secret = table.required("api_secret", "{ env = \"NAME\" } or { file = \"path\" }");
        let secret = api_secret.and_then(|item| item.secret());
        Some(Self { api_key: api_key?.word()?, api_secret: secret? })
    }
}

/// A working day and the night after it.
const EXCHANGE_TTL: Duration = Duration::from_secs(24 * 3600);
/// By hand nobody needs more in ten minutes; a guesser needs many more.
const PER_ACCOUNT: Rate = Rate { attempts: 10, per: TEN_MINUTES };
/// Several people behind one address.
const PER_ADDRESS: Rate = Rate { attempts: 60, per: TEN_MINUTES };
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// A script that logs in every second; each session beyond `sessions_per_user` ends another, and
/// each that ends is remembered until its tokens have expired.
const NEW_SESSIONS: Rate = Rate { attempts: 60, per: Duration::from_secs(60) };
const SESSIONS_PER_USER: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);
/// A login that waits behind more than these has given up before its turn.
const QUEUE: usize = 64;
/// One address may hold an eighth of the queue, which has to be at least one login.
const SHORTEST_QUEUE: u64 = 8;

impl LoginLimits {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let sessions = SESSIONS_PER_USER.get();
        let sessions = table.count_or("sessions_per_user", sessions, 1..=100_000);
        Self {
            per_account: Rate::read(table.table("per_account"), PER_ACCOUNT),
            per_address: Rate::read(table.table("per_address"), PER_ADDRESS),
            hashing: Hashing::read(table.table("hashing")),
            sessions_per_user: NonZeroUsize::new(sessions).unwrap_or(SESSIONS_PER_USER),
            new_sessions_per_user: Rate::read(table.table("new_sessions_per_user"), NEW_SESSIONS),
        }
    }
}

impl Rate {
    fn read(mut table: Table<'_>, default: Self) -> Self {
        let attempts = table.number_or("attempts", default.attempts.into(), 1..=1_000_000);
        let day = Duration::from_secs(24 * 3600);
        Self {
            // Invariant: within the range, so it fits.
            attempts: u32::try_from(attempts).unwrap_or(default.attempts),
            per: table.duration_or("per", default.per, Duration::from_secs(1)..=day),
        }
    }
}

impl Hashing {
    fn read(mut table: Table<'_>) -> Self {
        let cores = cores();
        // Half of them, so that the other half serves requests whatever the logins do.
        let parallel = table.get("parallel");
        let threads = parallel.as_ref().and_then(|item| item.number(1..=1024));
        let threads = threads.and_then(|count| usize::try_from(count).ok());
        if let (Some(item), Some(threads)) = (&parallel, threads)
            && threads > cores
        {
            item.warn(
                WarningName::HashingThreads,
                format!("is more than the {cores} processors here: logins would starve requests"),
            );
        }
        Self {
            parallel: threads.unwrap_or((cores / 2).max(1)),
            queue: table.count_or("queue", QUEUE, SHORTEST_QUEUE..=100_000),
        }
    }
}
