//! `[[login]]` and `[login_limits]`: the dialects that clients log in with, and the limits against
//! guessing of passwords.
//!
//! A login joins a dialect with user sources, lifetimes and hosts. Lifetimes may be set in the
//! login, in its dialect and in `[token]`; they are resolved here, so that the rest of the program
//! sees one value each.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::cors;
use super::item::SpannedValue;
use super::login_clients::{check_clients, check_shown_url, read_url};
use super::path::{check_exact, host};
use super::process::cores;
use super::reader::TableReader;
use super::references::References;
use super::token::{MAX_GRACE, MAX_TTL, MIN_TTL, read_algorithm, read_audience};
use super::warnings::WarningName;
use crate::dialect::{CredentialForm, Dialect, TokenUse};
use crate::settings::{
    AttemptRate, HashingSettings, LoginClient, LoginLimits, LoginSettings, TenantPair, duration,
};

/// Names, passwords and tokens are small; a larger body is no login.
const BODY_LIMIT: u64 = 64 << 10;
const LARGEST_BODY: u64 = 1 << 20;

impl LoginSettings {
    /// Reads one section. `None` if there is no such dialect, which has been reported.
    pub(super) fn read(mut table: TableReader<'_>, known: &mut References) -> Option<Self> {
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
        let exchange = table.get("exchange");
        let reveal = table.get("reveal_unknown_user");
        table.default_is("exchange_ttl", duration::render(EXCHANGE_TTL));
        let exchange_ttl = table.get("exchange_ttl");
        let lives = ConfiguredLifetimes::read(&mut table);
        let algorithm = read_algorithm(&mut table);
        let issuer = table.get("issuer").as_ref().and_then(SpannedValue::plain_name);
        let audience = read_audience(&mut table);
        let cors_item = table.get("cors");
        let tenants = table.list("tenants").iter().filter_map(TenantPair::read).collect();
        let clients_item = table.get("clients");
        let clients = LoginClient::read_all(&mut table);
        let url_item = table.get("url");
        let about = table.table("about").entries();
        let totp = table.bool_or("totp", true);
        let body_limit = table.size_or("body_limit", BODY_LIMIT, 1 << 10..=LARGEST_BODY);

        // All keys were read above, before this return: a key that is not asked for is reported as
        // unknown, although only the dialect is wrong. Readers of the keys that depend on the
        // dialect run after it.
        let dialect = dialect?;
        let exchange =
            exchange.map(|item| read_exchange(&item, &dialect, known)).unwrap_or_default();
        let names_somebody = users_item.is_some_and(|item| !item.is_empty_list());
        // If `users` names only sources that do not exist, each of them was reported already.
        // Reported here is a login without any source, which could let nobody in.
        let is_nobody = users.is_empty() && exchange.is_empty() && !names_somebody;
        if is_nobody && !known.users.is_incomplete() {
            table.issue("users", "has nobody who could log in: add a [[users]]");
        }
        check_clients(clients_item.as_ref(), &dialect);
        let url = url_item.as_ref().and_then(read_url);
        if url_item.is_none() {
            check_shown_url(&table, &dialect);
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
            clients,
            url,
            about: about.into_iter().map(|(name, item)| (name, item.json())).collect(),
            body_limit,
            dialect,
        })
    }
}

/// Reads `hosts` of a login or a route. Left out, it means all hosts.
pub(super) fn read_hosts(table: &mut TableReader<'_>) -> Vec<String> {
    table.default_is("hosts", vec!["*"]);
    let Some(item) = table.get("hosts") else { return vec!["*".to_owned()] };
    let remedy = "must name at least one host, or [\"*\"] for all";
    let Some(list) = item.filled_list(remedy) else { return Vec::new() };
    let mut hosts: Vec<String> = Vec::with_capacity(list.len());
    for item in &list {
        match item.string().map(host) {
            Some(Ok(host)) if hosts.contains(&host) => item.issue("stands here twice"),
            Some(Ok(host)) => hosts.push(host),
            Some(Err(remedy)) => item.issue(remedy),
            None => {}
        }
    }
    hosts
}

fn read_prefix(item: &SpannedValue<'_>) -> Option<String> {
    let prefix = item.string()?;
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

/// Reads `exchange_ttl`. Nobody can be asked later whether the issuer still lets its user in, so
/// such a session has a shorter life than one that began with a password. It is never longer than
/// the session itself; by default it is a day.
fn read_exchange_ttl(item: Option<SpannedValue<'_>>, refresh_ttl: Duration) -> Duration {
    let Some(item) = item else { return EXCHANGE_TTL.min(refresh_ttl) };
    let life = item.duration(MIN_TTL..=MAX_TTL).unwrap_or(refresh_ttl);
    if life > refresh_ttl {
        item.issue("is longer than any session of this login (refresh_ttl)");
    }
    life.min(refresh_ttl)
}

fn read_exchange(item: &SpannedValue<'_>, dialect: &Dialect, known: &References) -> Vec<String> {
    let is_trade = |form: &CredentialForm| {
        matches!(form, CredentialForm::Token { purpose: TokenUse::Exchange, .. })
    };
    if !dialect.endpoints.iter().any(|endpoint| endpoint.credential.iter().any(is_trade)) {
        item.issue(format!("is of no use: dialect \"{}\" trades no tokens", dialect.name));
        return Vec::new();
    }
    known.issuers.refer_all(&item.list().unwrap_or_default())
}

/// The dialect's own behaviour, unless the login hides the difference.
fn read_reveal(item: Option<SpannedValue<'_>>, dialect: &Dialect) -> bool {
    let tells = dialect.tells_unknown_user;
    let Some(item) = item else { return tells };
    let reveal = item.bool().unwrap_or(false);
    if reveal && !tells {
        item.issue(format!("dialect \"{}\" has one answer for both", dialect.name));
    }
    reveal && tells
}

/// The lifetimes that the login itself sets.
struct ConfiguredLifetimes<'a> {
    access: Option<SpannedValue<'a>>,
    refresh: Option<SpannedValue<'a>>,
    idle: Option<SpannedValue<'a>>,
    grace: Option<Duration>,
}

/// The lifetimes after login, dialect and `[token]` were combined.
struct Lifetimes {
    access: Duration,
    refresh: Duration,
    idle: Option<Duration>,
    grace: Duration,
}

impl<'a> ConfiguredLifetimes<'a> {
    fn read(table: &mut TableReader<'a>) -> Self {
        Self {
            access: table.get("access_ttl"),
            refresh: table.get("refresh_ttl"),
            idle: table.get("refresh_idle"),
            grace: table.duration("refresh_grace", Duration::ZERO..=MAX_GRACE),
        }
    }

    /// Combines the lifetimes: those of the login, else those of its dialect, else those of
    /// `[token]`. Combinations that contradict each other are reported at the login's own keys. A
    /// login may shorten or lengthen each of them.
    fn resolve(self, table: &TableReader<'_>, dialect: &Dialect, known: &References) -> Lifetimes {
        let token = &known.token;
        let defaults = &dialect.defaults;
        let read = |item: &Option<SpannedValue<'_>>| item.as_ref()?.duration(MIN_TTL..=MAX_TTL);
        // A token that each use prolongs has its idle time as its life.
        let of_dialect = defaults.idle.or(defaults.access_ttl);
        let access = read(&self.access).or(of_dialect).unwrap_or(token.access_ttl);
        let grace = self.grace.unwrap_or(token.refresh_grace);
        // Without refresh tokens the session ends with its access token, so a separate lifetime for
        // it would have no effect. Such keys are reported, so that nobody relies on them.
        if defaults.ends_with_access {
            for item in [&self.refresh, &self.idle].into_iter().flatten() {
                let name = &dialect.name;
                item.issue(format!("sessions of \"{name}\" end with access_ttl: set that"));
            }
            return Lifetimes { access, refresh: access, idle: None, grace };
        }
        let refresh = read(&self.refresh).or(defaults.refresh_ttl).unwrap_or(token.refresh_ttl);
        if access > refresh {
            let remedy = "an access token may not outlive its session (refresh_ttl)";
            table.report("access_ttl", self.access.as_ref(), remedy.to_owned());
        }
        if defaults.idle.is_some() {
            if let Some(item) = &self.idle {
                let name = &dialect.name;
                item.issue(format!(
                    "sessions of \"{name}\" end when unused for access_ttl: set that"
                ));
            }
            return Lifetimes { access, refresh, idle: Some(access), grace };
        }
        // If the session ends earlier than the dialect's idle time, that default is left out
        // silently: only a value that the operator has set is an error. The session's own end comes
        // first in that case.
        let idle = read(&self.idle).or(defaults.refresh_idle.filter(|idle| *idle <= refresh));
        if let (Some(item), Some(idle)) = (&self.idle, idle)
            && idle > refresh
        {
            item.issue("is longer than the session itself (refresh_ttl)");
        }
        Lifetimes { access, refresh, idle, grace }
    }
}

impl TenantPair {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let mut table = item.table()?;
        let api_key = table.required("api_key", "the tenant's name in X-Killbill-ApiKey");
        let api_secret = table.required("api_secret", "{ env = \"NAME\" } or { file = \"path\" }");
        let secret = api_secret.and_then(|item| item.secret());
        Some(Self { api_key: api_key?.plain_name()?, api_secret: secret? })
    }
}

/// A day: a user who works all day does not have to return to the issuer.
const EXCHANGE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Nobody needs more attempts by hand in ten minutes, and somebody who guesses needs many more.
const PER_ACCOUNT: AttemptRate = AttemptRate { attempts: 10, per: TEN_MINUTES };
/// More than for one account, because several people may share one address.
const PER_ADDRESS: AttemptRate = AttemptRate { attempts: 60, per: TEN_MINUTES };
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Enough for a script that logs in every second. Each session beyond `sessions_per_user` ends
/// another, and an ended session is remembered until its tokens have expired; this bounds that
/// memory.
const NEW_SESSIONS: AttemptRate = AttemptRate { attempts: 60, per: Duration::from_secs(60) };
const SESSIONS_PER_USER: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);
/// A client whose login waits behind more than this has given up before its turn.
const QUEUE: usize = 64;
/// Lower bound. One address may use an eighth of the queue, and an eighth has to be at least one
/// login.
const SHORTEST_QUEUE: u64 = 8;

impl LoginLimits {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let sessions = SESSIONS_PER_USER.get();
        let sessions = table.count_or("sessions_per_user", sessions, 1..=100_000);
        Self {
            per_account: AttemptRate::read(table.table("per_account"), PER_ACCOUNT),
            per_address: AttemptRate::read(table.table("per_address"), PER_ADDRESS),
            hashing: HashingSettings::read(table.table("hashing")),
            sessions_per_user: NonZeroUsize::new(sessions).unwrap_or(SESSIONS_PER_USER),
            new_sessions_per_user: AttemptRate::read(
                table.table("new_sessions_per_user"),
                NEW_SESSIONS,
            ),
        }
    }
}

impl AttemptRate {
    fn read(mut table: TableReader<'_>, default: Self) -> Self {
        let attempts = table.number_or("attempts", default.attempts.into(), 1..=1_000_000);
        let day = Duration::from_secs(24 * 3600);
        Self {
            // Invariant: the value is within the range, so it fits.
            attempts: u32::try_from(attempts).unwrap_or(default.attempts),
            per: table.duration_or("per", default.per, Duration::from_secs(1)..=day),
        }
    }
}

impl HashingSettings {
    fn read(mut table: TableReader<'_>) -> Self {
        let cores = cores();
        // The default is half of the processors: the other half serves requests, whatever the
        // logins do. Otherwise a flood of logins could take all processors from requests that are
        // already authenticated.
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
