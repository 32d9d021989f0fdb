//! The contract of every store, one file for each of its four traits and
//! one for opaque tokens: each case runs against every
//! implementation.

/// Runs each case against every implementation.
macro_rules! contract {
    ($($case:ident)*) => {
        mod embedded {
            use tollhouse_store::Store as _;

            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let store = crate::samples::open(dir.path());
                super::$case(&*store).await;
                store.close().await;
            })*
        }

        mod in_memory {
            use tollhouse_store::Store as _;

            $(#[tokio::test]
            async fn $case() {
                let database = crate::shared_samples::memory_database();
                let store = crate::shared_samples::open_shared(database).await;
                super::$case(&*store).await;
                store.close().await;
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            use tollhouse_store::Store as _;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let nodes = crate::postgres::two_nodes().await;
                let store = crate::shared_samples::open_shared(nodes.first).await;
                super::$case(&*store).await;
                store.close().await;
            })*
        }

        #[cfg(feature = "redis")]
        mod redis {
            use tollhouse_store::Store as _;

            use crate::redis::{RedisCluster, RedisServer, two_nodes, two_nodes_of};

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let server = RedisServer::forgetful();
                let store = crate::shared_samples::open_shared(two_nodes(&server).first).await;
                super::$case(&*store).await;
                store.close().await;
            })*

            #[tokio::test(flavor = "multi_thread")]
            async fn every_case_in_a_cluster() {
                let cluster = RedisCluster::start();
                $({
                    let nodes = two_nodes_of(&cluster, stringify!($case));
                    let store = crate::shared_samples::open_shared(nodes.first).await;
                    super::$case(&*store).await;
                    store.close().await;
                })*
            }
        }
    };
}

mod accounts;
mod attempts;
mod codes;
mod opaque_tokens;
mod sessions;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Secret;
use tollhouse_store::{
    AccountCounts, AccountKey, AttemptAdmission, AttemptKind, CodeGuess, CodeVerdict, ForeignToken,
    KnownAccount, LoginAttempt, LoginProgress, OneTimeCode, OpaqueToken, PutCode, RefreshRotation,
    RevocationTarget, RotationOutcome, Session, Store, TokenOwner, TotpSecret, UserRef,
};

use crate::samples::{MANY, START, account, after, rotation, session, token};

const HOUR: Duration = Duration::from_secs(3600);

/// Every session of a subject, in whatever realm.
pub(crate) fn everywhere(subject: &str) -> RevocationTarget {
    RevocationTarget::Subject { subject: Subject::new(subject), realm: None }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Puts a new session and answers with it.
async fn begun(store: &dyn Store, subject: &str, now: Timestamp) -> Session {
    let session = session(subject, now);
    store.put(session.clone(), MANY, now).await.unwrap();
    session
}

async fn rotate(
    store: &dyn Store,
    of: &Session,
    from: &str,
    to: &str,
    now: Timestamp,
) -> RotationOutcome {
    store.rotate(of.id, rotation(from, to, now), now).await.unwrap()
}

const OWNER: &str = "192.0.2.1";

const STRANGER: &str = "203.0.113.9";

fn code(word: &str) -> OneTimeCode {
    OneTimeCode {
        username: "alice".to_owned(),
        key: token("ann's key"),
        code: token(word),
        user_id: UserId::new("ann"),
        source: "staff".to_owned(),
        user_version: token("version 1"),
        expires: after(600),
        address: Some(ip("192.0.2.1")),
        ticket: None,
        kept: None,
    }
}

async fn guess(store: &dyn Store, word: &str, from: &str, now: Timestamp) -> CodeVerdict {
    let (key, address) = (token("ann's key"), Some(ip(from)));
    let guess = CodeGuess { key, code: token(word), address, ticket: None };
    store.use_code(guess, now).await.unwrap()
}
