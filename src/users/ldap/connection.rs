//! One connection to one server of a directory (LDAP, RFC 4511).
//!
//! The library ldap3 needs somebody to drive a connection while operations run on it. Here the task
//! that waits for an answer drives it. Nothing has to be spawned, a connection that is dropped is
//! closed, and a panic of ldap3 on malformed input costs one answer only.
//!
//! A referral is never followed: a password must not be sent to a server that nobody configured.

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

use crate::secret::SecretString;
use crate::settings::LdapServer;

/// The reasons why a directory gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("{0}")]
    Unreachable(String),

    #[error("the connection broke: {0}")]
    Broken(#[from] LdapError),

    #[error("what came back is not LDAP")]
    Nonsense,

    #[error("{what} was refused: {}", redacted(.result))]
    Refused { what: &'static str, result: Box<LdapResult> },

    #[error("a user's bind was neither right nor wrong: {}", redacted(.0))]
    Undecided(Box<LdapResult>),

    #[error("no answer within {limit:?}, or all {parallel} connections were busy for that long")]
    Slow { limit: Duration, parallel: usize },

    #[error("{what} finds more than {most} entries")]
    TooMany { what: &'static str, most: usize },

    #[error("an entry has {0}")]
    Entry(String),
}

/// The server's answer for the log, without the DN of a user and without referrals.
fn redacted(result: &LdapResult) -> String {
    let bare = LdapResult { matched: String::new(), refs: Vec::new(), ..result.clone() };
    bare.to_string()
}

impl DirectoryError {
    /// True if the directory as a whole does not work, as opposed to one entry in it.
    pub(super) fn is_outage(&self) -> bool {
        !matches!(self, Self::TooMany { .. } | Self::Entry(_) | Self::Undecided(_))
    }

    /// True if the connection may have been closed before it was used, so that a second try makes
    /// sense.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// True if the connection must not be used again.
    pub(super) fn spoils(&self) -> bool {
        // Result codes (RFC 4511, section 4.1.9): Active Directory answers operationsError (1) on a
        // connection whose bind it has dropped; a server that is shutting down answers busy (51) or
        // unavailable (52). After these the next operation on the connection would fail too.
        match self {
            Self::Refused { result, .. } => matches!(result.rc, 1 | 51 | 52),
            Self::TooMany { .. } | Self::Entry(_) => false,
            _ => true,
        }
    }
}

/// A password that may be sent in a bind.
///
/// An empty one is refused, because such a bind succeeds as an unauthenticated one and proves
/// nothing (RFC 4513, section 5.1.2). One with a NUL byte is refused, because a server written in C
/// might ignore the rest.
#[derive(Clone, Copy)]
pub(super) struct SendablePassword<'p>(&'p SecretString);

impl<'p> SendablePassword<'p> {
    pub(super) fn new(password: &'p SecretString) -> Option<Self> {
        let text = password.expose();
        (!text.is_empty() && !text.contains('\0')).then_some(Self(password))
    }
}

/// A search in the directory.
pub(super) struct SearchQuery<'q> {
    /// Name of the search, for messages.
    pub(super) what: &'static str,
    pub(super) base: &'q str,
    pub(super) scope: Scope,
    pub(super) filter: &'q str,
    pub(super) attributes: &'q [&'q str],
    /// Most entries. If there are more, the search fails.
    pub(super) most: usize,
    pub(super) limit: Duration,
}

/// An entry from the directory. Names of attributes are in lower case.
#[derive(Debug)]
pub(super) struct DirectoryEntry {
    pub(super) dn: String,
    pub(super) values: HashMap<String, Vec<Vec<u8>>>,
}

type ConnectionDriver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An open connection, driven by its user.
pub(super) struct LdapConnection {
    ldap: Ldap,
    /// `None` when the connection has ended.
    driver: Option<ConnectionDriver>,
}

impl LdapConnection {
    /// Connects to the server. If TLS is configured, it is established before this returns, so no
    /// password can be sent without it.
    pub(super) async fn open(
        server: &LdapServer,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, DirectoryError> {
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

    /// True if the other side is known to have closed the connection.
    pub(super) async fn has_ended(&mut self) -> bool {
        let Self { driver, .. } = self;
        // The connection is driven for one step only, without waiting: that is enough to see a
        // close that has arrived. Without this look, the first search after a pause would often
        // fail.
        let looked = run(driver, std::future::ready(Ok(())));
        looked.await.is_err() || driver.is_none()
    }

    /// Binds with the DN and the password, and returns the server's result, whatever it is.
    pub(super) async fn bind(
        &mut self,
        dn: &str,
        password: SendablePassword<'_>,
    ) -> Result<LdapResult, DirectoryError> {
        let Self { ldap, driver } = self;
        run(driver, ldap.simple_bind(dn, password.0.expose())).await
    }

    /// The entries that match the query; more than `most` is an error.
    pub(super) async fn search(
        &mut self,
        query: &SearchQuery<'_>,
    ) -> Result<Vec<DirectoryEntry>, DirectoryError> {
        let Self { ldap, driver } = self;
        let (entries, found, result) = run(driver, collect(ldap, query)).await?;
        // sizeLimitExceeded (4): by the limit in our request, or by the server's own limit.
        if found > query.most || result.rc == 4 {
            return Err(DirectoryError::TooMany { what: query.what, most: query.most });
        }
        if result.rc != 0 {
            return Err(DirectoryError::Refused { what: query.what, result: Box::new(result) });
        }
        Ok(entries)
    }
}

/// Reads all results of a search: the entries, their number, and the server's final result.
async fn collect(
    ldap: &mut Ldap,
    query: &SearchQuery<'_>,
) -> Result<(Vec<DirectoryEntry>, usize, LdapResult), LdapError> {
    let SearchQuery { base, scope, filter, attributes, most, limit, .. } = query;
    // One entry more than allowed is requested. If it arrives, the search was not unique; without
    // it, a server's limit could hide a second match.
    let one_more = i32::try_from(most.saturating_add(1)).unwrap_or(i32::MAX);
    let seconds = i32::try_from(limit.as_secs().max(1)).unwrap_or(i32::MAX);
    let options = SearchOptions::new().sizelimit(one_more).timelimit(seconds);
    let ldap = ldap.with_search_options(options);
    let mut stream = ldap.streaming_search(base, *scope, filter, *attributes).await?;
    let mut entries = Vec::new();
    let mut found = 0;
    while let Some(item) = stream.next().await? {
        // References to other servers are skipped: following them would send searches, and later
        // passwords, to servers that nobody configured.
        if item.is_ref() || item.is_intermediate() {
            continue;
        }
        found += 1;
        if found <= *most {
            entries.push(DirectoryEntry::from(SearchEntry::construct(item)));
        }
    }
    Ok((entries, found, stream.finish().await))
}

/// Drives the connection until `work` is done.
async fn run<T>(
    driver: &mut Option<ConnectionDriver>,
    work: impl Future<Output = Result<T, LdapError>>,
) -> Result<T, DirectoryError> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // ldap3 panics on some malformed messages. The panic is caught, the connection is dropped,
        // and this one operation fails.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
                *driver = None;
            }
            work.as_mut().poll(context)
        }));
        match polled {
            Ok(polled) => polled.map_err(DirectoryError::from),
            Err(_) => {
                *driver = None;
                Poll::Ready(Err(DirectoryError::Nonsense))
            }
        }
    })
    .await
}

impl From<SearchEntry> for DirectoryEntry {
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

impl fmt::Debug for LdapConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}
