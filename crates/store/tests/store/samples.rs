//! Sample values for tests of the store. The program's own tests use it too.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, DatabaseError, TableDefinition, WriteTransaction};
use tollhouse_core::clock::{Clock, TestClock, Timestamp};
use tollhouse_core::identity::{IdRules, SessionId, Subject, UserId};
use tollhouse_core::secret::Digest;
use tollhouse_store::{
    EmbeddedOptions, EmbeddedStore, KnownAccount, RefreshGeneration, RefreshRotation, Session,
};

/// When every case begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const MANY: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const GRACE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// How a store in `dir` is opened, by a clock that stands at `START`.
pub(crate) fn options(dir: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        path: dir.join("store.redb"),
        clock: Clock::test(TestClock::new(START)),
        leeway: Duration::from_secs(30),
        longest_access: Duration::from_secs(600),
        ids: IdRules::default(),
        keys_exist: false,
        new_state: false,
        backend_faults: None,
    }
}

pub(crate) fn open(dir: &Path) -> Arc<EmbeddedStore> {
    EmbeddedStore::open(options(dir)).unwrap()
}

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
            repeated: None,
        }),
        key_hash: Some(token("key")),
        traded: None,
        kept: None,
        tokens: Vec::new(),
        address: Some(IpAddr::from([192, 0, 2, 1])),
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
        issued: None,
        grace: GRACE,
    }
}

/// A remembered user of `source`.
pub(crate) fn account(source: &str, id: &str, key: &str) -> KnownAccount {
    KnownAccount {
        source: source.to_owned(),
        subject: UserId::new(id),
        name: key.to_uppercase(),
        key: key.to_owned(),
        email: Some(format!("{key}@example.com")),
        roles: vec!["admin".to_owned()],
        scopes: vec!["read".to_owned()],
        claims: serde_json::from_str(r#"{"tenant":"acme"}"#).unwrap(),
        version: token("version 1"),
        hash: None,
        origin: None,
        spelling: None,
        imported: None,
        seen: START,
    }
}

/// Changes a store that nobody has open, and says that a version wrote it.
pub(crate) fn rewrite(path: &Path, version: u64, change: impl FnOnce(&WriteTransaction)) {
    // The handle was dropped: wait until its thread has let go.
    let db = loop {
        match Database::open(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    let txn = db.begin_write().unwrap();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    txn.open_table(meta).unwrap().insert("schema", version.to_be_bytes().as_slice()).unwrap();
    change(&txn);
    txn.commit().unwrap();
}
