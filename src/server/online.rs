//! Asks the servers on which a configuration relies, over the network, before a start (`check
//! --online`).
//!
//! Every question uses the connector that the running gateway would use, and no credential but the
//! one that it would connect with. All questions run at the same time, and each of them is limited
//! in time. Nothing is changed anywhere, and no user's password is sent.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::Uri;
use tokio::time::{Instant, timeout_at};

use super::shared_store::inspect_database;
use crate::acme;
use crate::authn;
use crate::clock::Clock;
use crate::config::KeyPath;
use crate::database::DatabaseAddress;
use crate::format::{error_chain, excerpt};
use crate::login::CodeMailer;
use crate::outbound;
use crate::runtime::{BackgroundRuntime, GatewayThreads};
use crate::session::shared::{Finding, Verdict as FindingVerdict};
use crate::settings::{
    Config, IssuerKeys, ServerAddress, SessionLookup, SourceKind, SourceSettings, StoreSettings,
    UpstreamCredential,
};
use crate::upstream::UpstreamPool;
use crate::users;

/// Upper bound on questions at the same time.
const PARALLEL: usize = 64;
/// Upper bound on the whole, as a multiple of the limit for one question.
const ROUNDS: u32 = 4;
const UNRESOLVED: &str = "correct the name, or this machine's resolver (/etc/resolv.conf)";
/// Upper bound on the addresses of one name that are shown.
const SHOWN: usize = 4;
/// Upper bound on the characters of an outcome: some of them are chosen by the party that was asked.
const LONGEST: usize = 500;
/// The same for a shared store, of which there are several findings. Its texts are our own.
const LONGEST_FINDINGS: usize = 2000;

/// The kind of party that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Name,
    Store,
    Acme,
    Database,
    Directory,
    LegacyLogin,
    Issuer,
    Mail,
    Upstream,
    UpstreamLogin,
}

impl Party {
    /// The name of the kind in a verdict.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "dns",
            Self::Store => "store",
            Self::Acme => "acme",
            Self::Database => "database",
            Self::Directory => "directory",
            Self::LegacyLogin => "legacy login",
            Self::Issuer => "issuer",
            Self::Mail => "mail",
            Self::Upstream => "upstream",
            Self::UpstreamLogin => "upstream login",
        }
    }

    /// Advice for the operator, chosen by the kind of party and by words in the cause. It is a
    /// static text, so nothing that a server has sent can get into it.
    fn remedy(self, cause: &str) -> &'static str {
        if cause.contains("certificate") {
            return "name the authority that signed it with `ca`, or the server by a name that is in \
                    its certificate";
        }
        // The words of the system's resolver, and those of an upstream's pool.
        let unresolved = ["lookup address", "could not be resolved"];
        if unresolved.iter().any(|words| cause.contains(words)) {
            return UNRESOLVED;
        }
        match self {
            Self::Name => UNRESOLVED,
            Self::Store => "mend this before a gateway relies on the store",
            Self::Database => {
                "start it, let this machine and its user in, or correct url and query"
            }
            Self::Directory => {
                "start it, let this machine in, or correct url, tls, bind_dn and bind_password"
            }
            Self::Mail => "start it, let this machine in, or correct server, tls and credentials",
            Self::Acme
            | Self::Issuer
            | Self::LegacyLogin
            | Self::Upstream
            | Self::UpstreamLogin => {
                "start it, let this machine through to it, or correct its address"
            }
        }
    }
}

/// The result of asking one party. A failure is no error of the check: a server that is down now
/// may be up when the gateway starts.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub party: Party,
    /// The name, address or URL that was asked, without credentials.
    pub whom: String,
    /// The key of the configuration that names it.
    pub at: KeyPath,
    pub took: Duration,
    /// The observation, or the reason why there is none.
    pub outcome: Result<String, String>,
}

impl Verdict {
    /// Advice about a failure; `None` if there was none.
    pub fn remedy(&self) -> Option<&'static str> {
        self.outcome.as_ref().err().map(|cause| self.party.remedy(cause))
    }
}

/// Asks every party that the configuration names. `limit` applies to each of them. The verdicts
/// have the order of the configuration, whatever the order of the answers is. The call blocks until
/// the last answer or limit.
///
/// # Errors
/// If the system provides no threads.
pub fn ask_network(config: &Config, limit: Duration) -> io::Result<Vec<Verdict>> {
    let threads = GatewayThreads::start(1, 2)?;
    let background = threads.background();
    let questions = Questions::of(config, background);
    Ok(background.handle().block_on(async {
        // With many parties, some wait for a free place. The limit for the whole keeps a check from
        // taking minutes when every server is down. A party that was not asked in time is reported
        // as such.
        let end = Instant::now() + limit * ROUNDS;
        let asking = questions.into_iter().map(|question| question.ask(limit, end));
        stream::iter(asking).buffered(PARALLEL).collect().await
    }))
}

type Asking<'a> = BoxFuture<'a, Result<String, String>>;

struct Question<'a> {
    party: Party,
    whom: String,
    at: KeyPath,
    asking: Asking<'a>,
}

impl Question<'_> {
    /// Asks, within `limit` and before `end`. The outcome is put on one line, without control
    /// characters and not too long.
    async fn ask(self, limit: Duration, end: Instant) -> Verdict {
        let Self { party, whom, at, asking } = self;
        let began = Instant::now();
        // The time counts from the moment at which this question is asked, not from the beginning
        // of the check.
        let outcome = match timeout_at(end.min(began + limit), asking).await {
            Ok(outcome) => outcome,
            Err(_) if began + limit <= end => Err(format!("no answer within {limit:?}")),
            Err(_) => Err(format!("not asked to the end: all may take {:?}", limit * ROUNDS)),
        };
        let longest = if party == Party::Store { LONGEST_FINDINGS } else { LONGEST };
        let outcome = outcome
            .map(|seen| on_one_line(&seen, longest))
            .map_err(|cause| on_one_line(&cause, longest));
        Verdict { party, whom, at, took: began.elapsed(), outcome }
    }
}

/// The findings about a shared store in one text; a failure if one of them is bad.
fn summed_up(findings: &[Finding]) -> Result<String, String> {
    let line = |finding: &Finding| {
        let mark = match finding.verdict {
            FindingVerdict::Good => "good",
            FindingVerdict::Warning => "WARNING",
            FindingVerdict::Bad => "BAD",
        };
        format!("{}: {mark}, {}", finding.what, finding.text)
    };
    let text = findings.iter().map(line).collect::<Vec<_>>().join("; ");
    let is_bad = findings.iter().any(|finding| finding.verdict == FindingVerdict::Bad);
    if is_bad { Err(text) } else { Ok(text) }
}

fn on_one_line(text: &str, longest: usize) -> String {
    excerpt(&text.split_whitespace().collect::<Vec<_>>().join(" "), longest)
}

/// A host that the configuration names, to be resolved once however often it is named. A name that
/// cannot be resolved then has a verdict of its own.
struct NamedHost {
    host: String,
    at: KeyPath,
}

struct Questions<'a> {
    background: &'a BackgroundRuntime,
    hosts: Vec<NamedHost>,
    list: Vec<Question<'a>>,
}

impl<'a> Questions<'a> {
    /// All questions: first the names, then the other parties in the order of the sections. Parts
    /// of the configuration that are files only have no question.
    fn of(config: &'a Config, background: &'a BackgroundRuntime) -> Vec<Question<'a>> {
        let mut questions = Self { background, hosts: Vec::new(), list: Vec::new() };
        questions.store(&config.store);
        for (number, listener) in config.listeners.iter().enumerate() {
            let Some(acme) = &listener.acme else { continue };
            let at = section("listener", number).key("acme").key("directory");
            questions.uri(Party::Acme, &acme.directory, at, acme::reach(acme).boxed());
        }
        for (number, source) in config.users.iter().enumerate() {
            questions.users(source, &section("users", number));
        }
        for (number, issuer) in config.issuers.iter().enumerate() {
            questions.issuer(issuer, &section("issuer", number));
        }
        questions.mail(config);
        for (number, upstream) in config.upstreams.iter().enumerate() {
            questions.upstream(upstream, &section("upstream", number));
        }
        let Self { hosts, list, .. } = questions;
        hosts.into_iter().map(resolution).chain(list).collect()
    }

    fn add(&mut self, party: Party, whom: String, at: KeyPath, asking: Asking<'a>) {
        self.list.push(Question { party, whom, at, asking });
    }

    /// Adds a host for the resolver, unless it is an address or was added before.
    fn host(&mut self, host: &str, at: &KeyPath) {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let is_address = bare.parse::<IpAddr>().is_ok();
        if !bare.is_empty() && !is_address && self.hosts.iter().all(|known| known.host != bare) {
            self.hosts.push(NamedHost { host: bare, at: at.clone() });
        }
    }

    fn database(&mut self, address: &DatabaseAddress, at: &KeyPath, asking: Asking<'a>) {
        if let Some(host) = address.host() {
            self.host(host, at);
        }
        self.add(Party::Database, address.to_string(), at.clone(), asking);
    }

    fn uri(&mut self, party: Party, uri: &Uri, at: KeyPath, asking: Asking<'a>) {
        self.host(uri.host().unwrap_or_default(), &at);
        self.add(party, outbound::host(uri), at, asking);
    }

    fn users(&mut self, source: &'a SourceSettings, at: &KeyPath) {
        let reach = |kind| async move { users::reach(kind).await.map(str::to_owned) };
        let url = at.key("url");
        match &source.kind {
            SourceKind::File { .. } | SourceKind::Htpasswd(_) => {}
            SourceKind::Sql(sql) => {
                let Ok(address) = DatabaseAddress::parse(&sql.database.url, &sql.database.folder)
                else {
                    return;
                };
                self.database(&address, &url, reach(&source.kind).boxed());
            }
            SourceKind::Ldap(ldap) => {
                for (number, server) in ldap.servers.iter().enumerate() {
                    let at = if ldap.servers.len() == 1 { url.clone() } else { url.index(number) };
                    if let Some(host) = server.url.parse::<Uri>().ok().as_ref().and_then(Uri::host)
                    {
                        self.host(host, &at);
                    }
                    let one = crate::settings::LdapUsers {
                        servers: vec![server.clone()],
                        ..(**ldap).clone()
                    };
                    let one = SourceKind::Ldap(Box::new(one));
                    let asking = async move { users::reach(&one).await.map(str::to_owned) };
                    self.add(Party::Directory, server.url.clone(), at, asking.boxed());
                }
            }
            SourceKind::Http(http) => {
                let Some(uri) = &http.url else { return };
                self.uri(Party::LegacyLogin, uri, url, reach(&source.kind).boxed());
            }
        }
    }

    fn issuer(&mut self, issuer: &'a crate::settings::IssuerSettings, at: &KeyPath) {
        let asking = authn::reach(issuer).boxed();
        match &issuer.keys {
            IssuerKeys::Jwks(_) | IssuerKeys::Pem(_) | IssuerKeys::Secret(_) => {}
            IssuerKeys::Url(uri) => self.uri(Party::Issuer, uri, at.key("jwks"), asking),
            IssuerKeys::Discovery(uri) => self.uri(Party::Issuer, uri, at.key("issuer"), asking),
            IssuerKeys::Introspection(introspection) => {
                let at = at.key("introspection").key("url");
                self.uri(Party::Issuer, &introspection.url, at, asking);
            }
            IssuerKeys::Sessions(sessions) => match &sessions.lookup {
                SessionLookup::Http { url, .. } => {
                    self.uri(Party::Issuer, url, at.key("http").key("url"), asking);
                }
                SessionLookup::Sql(sql) => {
                    let Ok(address) = DatabaseAddress::parse(&sql.url, &sql.folder) else { return };
                    self.database(&address, &at.key("sql").key("url"), asking);
                }
            },
        }
    }

    /// One question for the whole store; `check` shows each finding.
    fn store(&mut self, store: &'a StoreSettings) {
        if store.shared().is_none() {
            return;
        }
        let runtime = self.background.handle().clone();
        let asking = async move {
            let findings = inspect_database(store, &runtime).await;
            findings.map_err(|error| error.to_string()).and_then(|findings| summed_up(&findings))
        };
        let at = KeyPath::default().key("store").key("url");
        self.add(Party::Store, "the shared store".to_owned(), at, asking.boxed());
    }

    fn mail(&mut self, config: &'a Config) {
        let Some(mail) = &config.mail else { return };
        let at = KeyPath::default().key("mail").key("server");
        self.host(&mail.host, &at);
        let asking = async move {
            let mailer = CodeMailer::new(mail).map_err(|error| error_chain(&error))?;
            mailer.reach().await
        };
        let whom = format!("{}:{}", mail.host, mail.port);
        self.add(Party::Mail, whom, at, asking.boxed());
    }

    fn upstream(&mut self, upstream: &'a crate::settings::UpstreamSettings, at: &KeyPath) {
        // A pool that cannot be built is refused by a start as well, and reported there.
        let Ok(pool) = UpstreamPool::build(upstream, 1, &Clock::default()) else { return };
        for (number, server) in upstream.servers.iter().enumerate() {
            let at = at.key("servers").index(number);
            match &server.address {
                ServerAddress::Echo => continue,
                ServerAddress::Unix(_) => {}
                ServerAddress::Tcp { host, .. } => self.host(host, &at),
            }
            let pool = pool.clone();
            let background = self.background;
            let asking = async move { pool.reach(number, background).await.map(str::to_owned) };
            self.add(Party::Upstream, server.name.clone(), at, asking.boxed());
        }
        if let Some(UpstreamCredential::Login(login)) = &upstream.credential {
            let at = at.key("credential").key("login").key("url");
            let asking = async move { pool.reach_login().await.map(str::to_owned) };
            self.uri(Party::UpstreamLogin, &login.url, at, asking.boxed());
        }
    }
}

fn section(name: &str, number: usize) -> KeyPath {
    KeyPath::default().key(name).index(number)
}

/// The question for the addresses of a name, to the system's resolver.
fn resolution<'a>(named: NamedHost) -> Question<'a> {
    let NamedHost { host, at } = named;
    let name = host.clone();
    let asking = async move {
        let found = tokio::net::lookup_host((name.as_str(), 0)).await;
        let found = found.map_err(|error| error.to_string())?;
        let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
        addresses.dedup();
        let more = addresses.len().saturating_sub(SHOWN);
        addresses.truncate(SHOWN);
        let listed = addresses.join(", ");
        match more {
            _ if listed.is_empty() => Err("it has no address".to_owned()),
            0 => Ok(listed),
            more => Ok(format!("{listed} and {more} more")),
        }
    };
    Question { party: Party::Name, whom: host, at, asking: asking.boxed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_server_says_can_do_nothing_to_a_terminal() {
        let said = format!("554\r\n\u{1b}[2J\u{9b}31m no{}", "o".repeat(1000));
        for outcome in [Ok(said.clone()), Err(said)] {
            let asking = std::future::ready(outcome).boxed();
            let party = Party::Mail;
            let at = KeyPath::default();
            let question = Question { party, whom: String::new(), at, asking };

            let limit = Duration::from_secs(60);
            let verdict = question.ask(limit, Instant::now() + limit).await;

            let (Ok(text) | Err(text)) = verdict.outcome;
            assert!(text.starts_with("554  [2J 31m no"), "{text}");
            assert_eq!(text.chars().count(), LONGEST);
        }
    }
}
