//! One connection to one server of a directory.
//!
//! ldap3 wants a connection driven beside the operations on it. Here whoever waits for an answer
//! drives it, so that nothing has to be spawned, a connection that is dropped is closed, and what
//! ldap3 makes of nonsense on the wire (it panics) costs one answer. A referral is never
//! followed: a password must not go where nobody configured it to go.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry, SearchOptions,
};
use rustls::client::ClientConfig;

use crate::config::LdapServer;
use crate::secret::SecretString;

/// Why a directory gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Unreachable(String),

    #[error("the connection broke: {0}")]
    Broken(#[from] LdapError),

    #[error("what came back is not LDAP")]
    Nonsense,

    #[error("{what} was refused: {}", told(.result))]
    Refused { what: &'static str, result: Box<LdapResult> },

    #[error("a user's bind was neither right nor wrong: {}", told(.0))]
    Undecided(Box<LdapResult>),

    #[error("no answer within {limit:?}, or all {parallel} connections were busy for that long")]
    Slow { limit: Duration, parallel: usize },

    #[error("{what} finds more than {most} entries")]
    TooMany { what: &'static str, most: usize },

    #[error("an entry has {0}")]
    Entry(String),
}

/// The server's answer without a user's DN.
fn told(result: &LdapResult) -> String {
    let told = LdapResult { matched: String::new(), refs: Vec::new(), ..result.clone() };
    told.to_string()
}

impl Fault {
    /// True if the directory is at fault as a whole, and not one entry in it.
    pub(super) fn is_outage(&self) -> bool {
        !matches!(self, Self::TooMany { .. } | Self::Entry(_) | Self::Undecided(_))
    }

    /// True if the connection may have been closed before it was used.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// True if the connection must not be used again.
    pub(super) fn spoils(&self) -> bool {
        // operationsError is what Active Directory says to whom it has forgotten, busy and
        // unavailable what a server says that goes down.
        match self {
            Self::Refused { result, .. } => matches!(result.rc, 1 | 51 | 52),
            Self::TooMany { .. } | Self::Entry(_) => false,
            _ => true,
        }
    }
}

/// A password that may be sent: an empty one would make a bind succeed that proves nothing
/// (RFC 4513 §5.1.2), and NUL would end it early in servers written in C.
#[derive(Clone, Copy)]
pub(super) struct Provable<'p>(&'p SecretString);

impl<'p> Provable<'p> {
    pub(super) fn new(password: &'p SecretString) -> Option<Self> {
        let text = password.expose();
        (!text.is_empty() && !text.contains('\0')).then_some(Self(password))
    }
}

/// What is looked for.
pub(super) struct Query<'q> {
    /// For messages.
    pub(super) what: &'static str,
    pub(super) base: &'q str,
    pub(super) scope: Scope,
    pub(super) filter: &'q str,
    pub(super) attributes: &'q [&'q str],
    /// More entries are a fault.
    pub(super) most: usize,
    pub(super) limit: Duration,
}

/// An entry as it was answered; attribute names are in lower case.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dn: String,
    pub(super) values: HashMap<String, Vec<Vec<u8>>>,
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An open connection.
pub(super) struct Connection {
    ldap: Ldap,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
}

impl Connection {
    /// Connects; TLS is up before this returns where the server is to have it.
    pub(super) async fn open(server: &LdapServer, tls: &Arc<ClientConfig>) -> Result<Self, Fault> {
        let settings =
            LdapConnSettings::new().set_config(tls.clone()).set_starttls(server.starttls);
        let connect = LdapConnAsync::with_settings(settings, &server.url);
        let (connection, ldap) = run(&mut None, connect).await?;
        let driver = async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to a directory ended");
            }
        };
        Ok(Self { ldap, driver: Some(Box::pin(driver)) })
    }

    /// True if the other side is known to have closed it.
    pub(super) async fn has_ended(&mut self) -> bool {
        let Self { driver, .. } = self;
        // One look; nothing is waited for.
        let looked = run(driver, std::future::ready(Ok(())));
        looked.await.is_err() || driver.is_none()
    }

    /// Whether the password is that of the DN: the bind's result, whatever it is.
    pub(super) async fn bind(
        &mut self,
        dn: &str,
        password: Provable<'_>,
    ) -> Result<LdapResult, Fault> {
        let Self { ldap, driver } = self;
        run(driver, ldap.simple_bind(dn, password.0.expose())).await
    }

    /// The entries that match, at most as many as the query says.
    pub(super) async fn search(&mut self, query: &Query<'_>) -> Result<Vec<Entry>, Fault> {
        let Self { ldap, driver } = self;
        let (entries, found, result) = run(driver, collect(ldap, query)).await?;
        // sizeLimitExceeded: by our own limit, or the server's.
        if found > query.most || result.rc == 4 {
            return Err(Fault::TooMany { what: query.what, most: query.most });
        }
        if result.rc != 0 {
            return Err(Fault::Refused { what: query.what, result: Box::new(result) });
        }
        Ok(entries)
    }
}

/// Entries, how many there were, and what the server said at the end.
async fn collect(
    ldap: &mut Ldap,
    query: &Query<'_>,
) -> Result<(Vec<Entry>, usize, LdapResult), LdapError> {
    let Query { base, scope, filter, attributes, most, limit, .. } = query;
    let one_more = i32::try_from(most.saturating_add(1)).unwrap_or(i32::MAX);
    let seconds = i32::try_from(limit.as_secs().max(1)).unwrap_or(i32::MAX);
    let options = SearchOptions::new().sizelimit(one_more).timelimit(seconds);
    let ldap = ldap.with_search_options(options);
    let mut stream = ldap.streaming_search(base, *scope, filter, *attributes).await?;
    let (mut entries, mut found) = (Vec::new(), 0);
    while let Some(item) = stream.next().await? {
        if item.is_ref() || item.is_intermediate() {
            continue;
        }
        found += 1;
        if found <= *most {
            entries.push(Entry::from(SearchEntry::construct(item)));
        }
    }
    Ok((entries, found, stream.finish().await))
}

/// Drives the connection until `work` is done.
async fn run<T>(
    driver: &mut Option<Driver>,
    work: impl Future<Output = Result<T, LdapError>>,
) -> Result<T, Fault> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
                *driver = None;
            }
            work.as_mut().poll(context)
        }));
        match polled {
            Ok(polled) => polled.map_err(Fault::from),
            Err(_) => {
                *driver = None;
                Poll::Ready(Err(Fault::Nonsense))
            }
        }
    })
    .await
}

impl From<SearchEntry> for Entry {
    fn from(entry: SearchEntry) -> Self {
        let text = entry.attrs.into_iter();
        let text = text.map(|(name, values)| {
            (name, values.into_iter().map(String::into_bytes).collect::<Vec<_>>())
        });
        let all = text.chain(entry.bin_attrs);
        let values = all.map(|(name, values)| (name.to_ascii_lowercase(), values));
        Self { dn: entry.dn, values: values.collect() }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}
