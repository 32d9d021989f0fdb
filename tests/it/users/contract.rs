//! What every source of users promises: each case runs against every kind.
//!
//! A kind plugs in with a `Kind` in a file of this folder and a line `contract! { … }` below. What
//! a kind cannot have at all (`Can`) it is not asked for.

use std::sync::Arc;

use tollhouse::identity::UserId;
use tollhouse::passwords::HashCounts;
use tollhouse::secret::SecretString;
use tollhouse::users::{LoginName, PasswordCheck, SourceError, UserRecord, UserSource};

mod file;
mod htpasswd;
mod ldap;
pub(crate) mod sql;

/// What every account has unless the test says otherwise.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A user as a test wants him to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) email: &'static str,
    pub(crate) password: &'static str,
    pub(crate) roles: &'static [&'static str],
    pub(crate) disabled: bool,
}

pub(crate) const ALICE: Account = Account {
    name: "alice",
    email: "alice@example.com",
    password: PASSWORD,
    roles: &["admin", "editor"],
    disabled: false,
};
pub(crate) const BOB: Account = Account { name: "bob", email: "bob@example.com", ..PLAIN };
pub(crate) const CAROL: Account =
    Account { name: "carol", email: "carol@example.com", disabled: true, ..PLAIN };
const PLAIN: Account =
    Account { name: "", email: "", password: PASSWORD, roles: &[], disabled: false };

/// What a kind of source is able to have or to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Can {
    /// Its users have addresses and log in by them.
    pub(crate) email: bool,
    /// Its users have roles.
    pub(crate) roles: bool,
    /// Its users can be disabled.
    pub(crate) disable: bool,
    /// It takes names in any case.
    pub(crate) fold: bool,
    /// It can be away.
    pub(crate) stop: bool,
    /// Two users of one name can come about in it.
    pub(crate) doubt: bool,
    /// It hashes here, so that its work can be counted.
    pub(crate) hash: bool,
}

/// A kind of source as the contract needs it.
pub(crate) trait Kind: Sized {
    const CAN: Can;

    /// A source `staff` with these users and nobody else.
    async fn with(accounts: &[Account]) -> Self;

    fn source(&self) -> Arc<dyn UserSource>;

    /// Makes these the source's users; returns when it knows. Users of the same name stay the
    /// same: their ids do not change.
    async fn replace(&self, accounts: &[Account]);

    /// Makes what is behind the source unreachable (`Can::stop`).
    async fn stop(&mut self) {
        unreachable!("it cannot be away");
    }

    /// Brings it back.
    async fn bring_back(&mut self) {
        unreachable!("it cannot be away");
    }

    /// What was hashed so far (`Can::hash`).
    fn operations(&self) -> HashCounts {
        HashCounts::default()
    }
}

macro_rules! cases {
    ($kind:ty: $($case:ident)*) => {
        $(#[tokio::test]
        async fn $case() {
            super::$case::<$kind>().await;
        })*
    };
}

macro_rules! contract {
    ($module:ident, $kind:ty) => {
        mod $module {
            cases! { $kind:
                the_right_password_is_right_and_says_who_it_is
                a_wrong_password_is_wrong
                an_empty_password_is_never_right
                a_name_that_is_not_there_is_unknown_however_odd
                a_disabled_user_is_refused_and_not_found
                a_user_is_found_by_his_id_and_nobody_by_anothers
                a_removed_user_is_gone
                another_password_is_another_version
                other_roles_are_another_version
                a_user_is_called_as_the_source_calls_him
                an_address_is_no_name_and_a_name_no_address
                an_unreachable_source_is_unavailable_until_it_is_back
                two_users_of_one_name_are_no_answer
                unknown_wrong_disabled_and_empty_cost_the_same
                many_logins_at_once_are_all_right
            }
        }
    };
}

contract! { users_file, super::file::UsersFile }
contract! { htpasswd_file, super::htpasswd::HtpasswdFile }
contract! { directory, super::ldap::Directory }
contract! { postgres, super::sql::Postgres }
contract! { mariadb, super::sql::MariaDb }
contract! { sqlite, super::sql::Sqlite }

/// A weak hash, the same each time: tests spend no time on hashing, and who was not changed has
/// the hash he had.
pub(crate) fn quick_hash(password: &str) -> String {
    bcrypt::hash_with_salt(password, 4, *b"the tests' salt.").unwrap().to_string()
}

pub(crate) fn username(name: &str) -> LoginName {
    LoginName::Username(name.to_owned())
}

fn email(address: &str) -> LoginName {
    LoginName::Email(address.to_owned())
}

async fn ask(
    source: &dyn UserSource,
    name: &LoginName,
    password: &str,
) -> Result<PasswordCheck, SourceError> {
    source.check(name, &SecretString::from(password), None).await
}

pub(crate) async fn check(source: &dyn UserSource, name: &str, password: &str) -> PasswordCheck {
    ask(source, &username(name), password).await.unwrap()
}

pub(crate) async fn right(source: &dyn UserSource, name: &str, password: &str) -> UserRecord {
    match check(source, name, password).await {
        PasswordCheck::Correct { user, .. } => *user,
        other => panic!("{name} with {password:?} is {other:?}"),
    }
}

async fn id(source: &dyn UserSource, name: &str) -> UserId {
    let found = source.resolve(&username(name)).await.unwrap();
    found.unwrap_or_else(|| panic!("{name} is known"))
}

async fn the_right_password_is_right_and_says_who_it_is<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();

    let user = right(&*source, "alice", PASSWORD).await;

    assert_eq!(user.id, id(&*source, "alice").await);
    assert_eq!((user.profile.name.as_str(), user.source.as_str()), ("alice", source.name()));
    assert_eq!(user.profile.email.as_deref(), K::CAN.email.then_some("alice@example.com"));
    if K::CAN.roles {
        assert_eq!(user.profile.roles, ["admin", "editor"]);
    }
    let again = right(&*source, "alice", PASSWORD).await;
    assert_eq!(again, user, "a login changes nothing");
    assert_ne!(id(&*source, "bob").await, user.id);
}

async fn a_wrong_password_is_wrong<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();
    let wrong = PasswordCheck::Wrong { id: id(&*source, "alice").await, disabled: false };

    for password in ["correct horse batterY", " correct horse battery", "correct horse battery\0"] {
        assert_eq!(check(&*source, "alice", password).await, wrong, "{password:?}");
    }
    for password in ["x", "' or '1'='1", "*", &"x".repeat(1000)] {
        assert_eq!(check(&*source, "alice", password).await, wrong, "{password:?}");
    }
}

async fn an_empty_password_is_never_right<K: Kind>() {
    let kind = K::with(&[ALICE, Account { password: "", ..BOB }]).await;
    let source = kind.source();

    for name in ["alice", "bob"] {
        let wrong = PasswordCheck::Wrong { id: id(&*source, name).await, disabled: false };
        assert_eq!(check(&*source, name, "").await, wrong, "{name}");
    }
}

async fn a_name_that_is_not_there_is_unknown_however_odd<K: Kind>() {
    let kind = K::with(&[ALICE]).await;
    let source = kind.source();
    let long = "x".repeat(5000);

    for name in [
        "nobody",
        "",
        " ",
        "*",
        "%",
        "_lice",
        "a\0",
        "alice\0",
        "ali\nce",
        &long,
        "\u{1f98a}",
        "alice' --",
        "' or '1'='1",
        "\" or \"\"=\"",
        "x'; drop table users; --",
        "\\' or 1=1 #",
        "*)(uid=*",
        "alice)(|(uid=*",
        "$1",
        "{alice}",
    ] {
        for password in [PASSWORD, ""] {
            let checked = check(&*source, name, password).await;
            assert_eq!(checked, PasswordCheck::UnknownUser, "{name:?} with {password:?}");
        }
        assert_eq!(source.resolve(&username(name)).await.unwrap(), None, "{name:?}");
    }
    right(&*source, "alice", PASSWORD).await;
}

async fn a_disabled_user_is_refused_and_not_found<K: Kind>() {
    if !K::CAN.disable {
        return;
    }
    let kind = K::with(&[ALICE, CAROL]).await;
    let source = kind.source();
    let carol = id(&*source, "carol").await;

    let refused = PasswordCheck::Wrong { id: carol.clone(), disabled: true };
    assert_eq!(check(&*source, "carol", PASSWORD).await, refused);
    for password in ["wrong", ""] {
        // Some sources only tell whose password is right that he is disabled.
        let checked = check(&*source, "carol", password).await;
        assert!(matches!(checked, PasswordCheck::Wrong { id, .. } if id == carol), "{password:?}");
    }
    assert_eq!(source.find(&carol, "carol").await.unwrap(), None);
}

async fn a_user_is_found_by_his_id_and_nobody_by_anothers<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();
    let alice = right(&*source, "alice", PASSWORD).await;

    assert_eq!(source.find(&alice.id, "alice").await.unwrap().as_ref(), Some(&alice));
    for name in ["bob", "nobody", "' or '1'='1"] {
        let found = source.find(&alice.id, name).await.unwrap();
        assert!(found.is_none_or(|found| found == alice), "{name} leads to nobody else");
    }
    assert_eq!(source.find(&UserId::new("nobody"), "alice").await.unwrap(), None);
}

async fn a_removed_user_is_gone<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();
    let bob = right(&*source, "bob", PASSWORD).await;

    kind.replace(&[ALICE]).await;

    assert_eq!(source.find(&bob.id, "bob").await.unwrap(), None);
    assert_eq!(check(&*source, "bob", PASSWORD).await, PasswordCheck::UnknownUser);
    right(&*source, "alice", PASSWORD).await;
}

async fn another_password_is_another_version<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();
    let before = right(&*source, "alice", PASSWORD).await;

    kind.replace(&[Account { password: "another one", ..ALICE }, BOB]).await;

    let after = right(&*source, "alice", "another one").await;
    assert!(matches!(check(&*source, "alice", PASSWORD).await, PasswordCheck::Wrong { .. }));
    assert_eq!(after.id, before.id);
    // Where the hash cannot be seen, a change of it cannot be either.
    if K::CAN.hash {
        assert_ne!(after.version, before.version);
    }
}

async fn other_roles_are_another_version<K: Kind>() {
    if !K::CAN.roles {
        return;
    }
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();
    let before = right(&*source, "alice", PASSWORD).await;
    let bob = right(&*source, "bob", PASSWORD).await;

    kind.replace(&[Account { roles: &["viewer"], ..ALICE }, BOB]).await;

    let after = right(&*source, "alice", PASSWORD).await;
    assert_eq!(
        (&after.id, after.profile.roles.as_slice()),
        (&before.id, &["viewer".to_owned()][..])
    );
    assert_ne!(after.version, before.version);
    assert_eq!(source.find(&bob.id, "bob").await.unwrap(), Some(bob), "bob is as he was");
}

async fn a_user_is_called_as_the_source_calls_him<K: Kind>() {
    if !K::CAN.fold {
        return;
    }
    let kind = K::with(&[Account { name: "Alice", ..ALICE }]).await;
    let source = kind.source();
    let alice = right(&*source, "Alice", PASSWORD).await;

    for name in ["alice", "ALICE", "aLiCe"] {
        assert_eq!(right(&*source, name, PASSWORD).await, alice, "{name}");
        assert_eq!(id(&*source, name).await, alice.id, "{name}");
    }
    assert_eq!(alice.profile.name, "Alice");
}

async fn an_address_is_no_name_and_a_name_no_address<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();

    let by_address = ask(&*source, &email("alice@example.com"), PASSWORD).await.unwrap();
    match by_address {
        PasswordCheck::Correct { user, .. } if K::CAN.email => {
            assert_eq!(*user, right(&*source, "alice", PASSWORD).await);
        }
        other => assert!(!K::CAN.email && other == PasswordCheck::UnknownUser, "{other:?}"),
    }
    for name in [username("alice@example.com"), email("alice"), email("bob@example.org")] {
        let checked = ask(&*source, &name, PASSWORD).await.unwrap();
        assert_eq!(checked, PasswordCheck::UnknownUser, "{name:?}");
    }
}

async fn an_unreachable_source_is_unavailable_until_it_is_back<K: Kind>() {
    if !K::CAN.stop {
        return;
    }
    let mut kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();
    let alice = right(&*source, "alice", PASSWORD).await;

    kind.stop().await;

    let is_away = |error: &SourceError| matches!(error, SourceError::Unavailable { .. });
    for (name, password) in [("alice", PASSWORD), ("alice", "wrong"), ("nobody", "wrong")] {
        let error = ask(&*source, &username(name), password).await.unwrap_err();
        assert!(is_away(&error), "{name} with {password}: {error}");
    }
    assert!(is_away(&source.resolve(&username("alice")).await.unwrap_err()));
    assert!(is_away(&source.find(&alice.id, "alice").await.unwrap_err()));
    assert!(source.problem().is_some(), "the operator is told");

    kind.bring_back().await;

    assert_eq!(right(&*source, "alice", PASSWORD).await, alice);
    assert_eq!(check(&*source, "nobody", PASSWORD).await, PasswordCheck::UnknownUser);
    assert_eq!(source.problem(), None);
}

async fn two_users_of_one_name_are_no_answer<K: Kind>() {
    if !K::CAN.doubt {
        return;
    }
    let other = Account { email: "other@example.com", password: "another one", ..ALICE };
    let kind = K::with(&[ALICE, other, BOB]).await;
    let source = kind.source();

    for password in [PASSWORD, "another one", "wrong"] {
        let error = ask(&*source, &username("alice"), password).await.unwrap_err();
        assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
    }
    right(&*source, "bob", PASSWORD).await;
}

async fn unknown_wrong_disabled_and_empty_cost_the_same<K: Kind>() {
    if !K::CAN.hash {
        return;
    }
    let kind = K::with(&[ALICE, CAROL]).await;
    let source = kind.source();
    // A source may have to have seen a hash to know what one costs.
    right(&*source, "alice", PASSWORD).await;
    let cost = async |name: &str, password: &str| {
        let before = kind.operations();
        check(&*source, name, password).await;
        kind.operations() - before
    };

    let expected = cost("alice", "wrong").await;

    assert_eq!(expected.total(), 1);
    for (name, password) in [("nobody", "wrong"), ("nobody", ""), ("alice", ""), ("\0", "wrong")] {
        assert_eq!(cost(name, password).await, expected, "{name:?} with {password:?}");
    }
    if K::CAN.disable {
        for password in ["wrong", PASSWORD] {
            assert_eq!(cost("carol", password).await, expected, "carol with {password:?}");
        }
    }
    let before = kind.operations();
    source.burn_equal_time(&username("nobody"), &SecretString::from("wrong"), None).await.unwrap();
    assert_eq!(kind.operations() - before, expected, "and so does a refusal elsewhere");
}

async fn many_logins_at_once_are_all_right<K: Kind>() {
    let kind = K::with(&[ALICE, BOB]).await;
    let source = kind.source();

    let logins = (0..30).map(|number| {
        let name = if number % 2 == 0 { "alice" } else { "bob" };
        let source = source.clone();
        async move { right(&*source, name, PASSWORD).await.profile.name == name }
    });

    let done = futures_util::future::join_all(logins).await;
    assert_eq!(done, [true; 30]);
}
