//! What every store promises, one file for each of its four traits: each case runs against every
//! implementation.

/// Runs each case against every implementation.
macro_rules! contract {
    ($($case:ident)*) => {
        mod embedded {
            use tollhouse::session::Store as _;

            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let store = crate::store::file::open(dir.path());
                super::$case(&*store).await;
                store.close().await;
            })*
        }
    };
}

mod accounts;
mod attempts;
mod codes;
mod sessions;

pub(crate) use self::accounts::account;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::join_all;
use tollhouse::clock::Timestamp;
use tollhouse::identity::{SessionId, Subject, UserId};
use tollhouse::secret::{Digest, Secret};
use tollhouse::session::{
    AccountCounts, AccountKey, AttemptAdmission, AttemptKind, CodeGuess, CodeVerdict, ForeignToken,
    KnownAccount, LoginAttempt, LoginProgress, OneTimeCode, PutCode, RefreshGeneration,
    RefreshRotation, RevocationTarget, RotationOutcome, Session, Store, TokenOwner, TotpSecret,
    UserRef,
};

/// When every case begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const MANY: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const GRACE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

pub(crate) fn token(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// A session of `subject` that began at `now`, lasts a day, and whose refresh token is `a`.
pub(crate) fn session(subject: &str, now: Timestamp) -> Session {
    Session {
        id: SessionId::new(now),
        subject: Subject::new(subject),
        realm: "staff".to_owned(),
        username: subject.to_owned(),
        email: None,
        source: "staff".to_owned(),
        user_id: UserId::new(subject),
        login: "native".to_owned(),
        roles: vec!["admin".to_owned()],
        scopes: Vec::new(),
        claims: serde_json::from_str(r#"{"tenant":"acme","level":3}"#).unwrap(),
        user_version: token("version 1"),
        created: now,
        expires: now.plus(24 * HOUR),
        idle: None,
        last_used: now,
        access_until: now.plus(HOUR),
        refresh: Some(RefreshGeneration {
            number: 1,
            is_named: true,
            current: token("a"),
            expires: now.plus(24 * HOUR),
            retired: None,
        }),
        key_hash: Some(token("key")),
        traded: None,
        address: Some(ip("192.0.2.1")),
        agent: Some("curl".to_owned()),
    }
}

pub(crate) fn rotation(presented: &str, successor: &str, now: Timestamp) -> RefreshRotation {
    RefreshRotation {
        presented: token(presented),
        generation: None,
        successor: token(successor),
        expires: now.plus(24 * HOUR),
        access_until: now.plus(HOUR),
        grace: GRACE,
    }
}

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
    }
}

async fn guess(store: &dyn Store, word: &str, from: &str, now: Timestamp) -> CodeVerdict {
    let (key, address) = (token("ann's key"), Some(ip(from)));
    let guess = CodeGuess { key, code: token(word), address, ticket: None };
    store.use_code(guess, now).await.unwrap()
}
