//! `users.toml` as a source of users: what the file adds to what every source promises.

mod edits;

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, proptest};
use tollhouse::cli::users::{self as cli, AddArgs, UsersFile};
use tollhouse::clock::{Clock, TestClock, Timestamp};
use tollhouse::identity::{IdRules, UserId};
use tollhouse::passwords::{self, HashCost, HashCounts, HashPool, StoredHash};
use tollhouse::secret::SecretString;
use tollhouse::users::edit::{self, EditError, NewUser};
use tollhouse::users::{
    FileError, FileSource, LoginName, PasswordCheck, SourceError, UserLookup, UserSource,
    UserSources,
};

const ALICE_ID: &str = "6f1c4d7e-0d3a-4c58-9d5e-3a8f0b1c2d3e";
const PASSWORD: &str = "correct horse battery";

/// A weak hash, so that tests spend no time on hashing.
fn quick_hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

struct Fixture {
    folder: tempfile::TempDir,
    pool: Arc<HashPool>,
}

impl Fixture {
    fn new() -> Self {
        let pool = HashPool::start(2, 64).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), pool }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users.toml")
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.path();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        path
    }

    /// A file that re-hashing leaves alone.
    fn write_protected(&self, text: &str) -> PathBuf {
        let path = self.write(text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
        path
    }

    fn open(&self, name: &str) -> Arc<FileSource> {
        FileSource::open(name, self.path(), self.pool.clone()).unwrap()
    }

    /// What `work` hashed.
    async fn cost<T>(&self, work: impl Future<Output = T>) -> (T, HashCounts) {
        let before = self.pool.operations();
        let result = work.await;
        (result, self.pool.operations() - before)
    }
}

/// One user as text; `more` are further lines.
fn user(name: &str, hash: &str, more: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\n{more}\n")
}

fn username(name: &str) -> LoginName {
    LoginName::Username(name.to_owned())
}

async fn check(source: &dyn UserSource, name: &str, password: &str) -> PasswordCheck {
    source.check(&username(name), &SecretString::from(password), None).await.unwrap()
}

fn is_right(checked: &PasswordCheck) -> bool {
    matches!(checked, PasswordCheck::Correct { .. })
}

#[tokio::test]
async fn unknown_wrong_disabled_and_empty_cost_the_same() {
    let fixture = Fixture::new();
    let argon2 = HashCost::Argon2 { memory: 512, passes: 3, lanes: 1 };
    for hash in [quick_hash(PASSWORD), argon2.dummy().as_str().to_owned()] {
        fixture
            .write(&[user("alice", &hash, ""), user("carol", &hash, "disabled = true")].concat());
        let source = fixture.open("staff");

        let (_, expected) = fixture.cost(check(&*source, "alice", "wrong")).await;

        assert_eq!(expected.total(), 1);
        for (name, password) in [
            ("nobody", "wrong"),
            ("nobody", ""),
            ("alice", ""),
            ("carol", "wrong"),
            ("carol", PASSWORD),
        ] {
            let (_, cost) = fixture.cost(check(&*source, name, password)).await;
            assert_eq!(cost, expected, "{name} with {password:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_name_costs_what_users_cost_where_hashes_differ() {
    let fixture = Fixture::new();
    let argon2 = HashCost::Argon2 { memory: 64, passes: 1, lanes: 1 };
    let hashes = [quick_hash(PASSWORD), argon2.dummy().as_str().to_owned()];
    fixture.write(&[user("a", &hashes[0], ""), user("b", &hashes[1], "")].concat());
    let source = fixture.open("staff");

    let mut total = HashCounts::default();
    for index in 0..64 {
        let name = format!("nobody {index}");
        let (_, first) = fixture.cost(check(&*source, &name, "wrong")).await;
        let (_, again) = fixture.cost(check(&*source, &name, "wrong")).await;
        assert_eq!(first, again, "a name always costs the same");
        total.argon2 += first.argon2;
        total.bcrypt += first.bcrypt;
    }

    assert_eq!(total.total(), 64);
    assert!(total.argon2 > 8 && total.bcrypt > 8, "both kinds occur: {total:?}");
}

#[tokio::test]
async fn sources_are_asked_in_order_and_refuse_at_equal_cost() {
    let (staff, guests) = (Fixture::new(), Fixture::new());
    let guests = Fixture { folder: guests.folder, pool: staff.pool.clone() };
    staff.write_protected(&user("alice", &quick_hash("the staff's alice"), ""));
    guests.write_protected(
        &[
            user("alice", &quick_hash("a guest's alice"), ""),
            user("bob", &quick_hash("bob's own"), ""),
        ]
        .concat(),
    );
    let users = UserSources::new(
        vec![staff.open("staff"), guests.open("guests")],
        Vec::new(),
        IdRules::default(),
    );
    let both = ["staff".to_owned(), "guests".to_owned()];
    let ask = |name: &str, password: &str| {
        let (name, password) = (username(name), SecretString::from(password));
        let (users, both) = (users.clone(), both.clone());
        async move { users.check(&both, &name, &UserLookup::default(), &password, None).await.unwrap() }
    };

    assert!(is_right(&ask("alice", "the staff's alice").await));
    assert!(!is_right(&ask("alice", "a guest's alice").await), "the first that knows her decides");
    assert!(is_right(&ask("bob", "bob's own").await), "unknown goes on to the next");

    for name in ["alice", "bob", "nobody"] {
        let (_, cost) = staff.cost(ask(name, "wrong")).await;
        assert_eq!(cost.total(), 2, "{name}");
    }
    let unnamed = users
        .check(&["other".to_owned()], &username("a"), &UserLookup::default(), &"b".into(), None)
        .await;
    assert!(matches!(unnamed, Err(SourceError::Unavailable { .. })));
}

#[tokio::test]
async fn names_and_addresses_are_found_in_any_spelling() {
    let fixture = Fixture::new();
    let more = "email = \"Alice@Example.com\"\n";
    fixture.write_protected(&user(
        "Alice",
        &quick_hash(PASSWORD),
        &format!("id = \"{ALICE_ID}\"\n{more}"),
    ));
    let source = fixture.open("staff");
    let alice = Some(UserId::new(ALICE_ID));

    for name in
        [username("alice"), username(" ＡＬＩＣＥ"), LoginName::Email("alice@example.COM".into())]
    {
        assert_eq!(source.resolve(&name).await.unwrap(), alice, "{name:?}");
    }
    for name in [username("alice@example.com"), LoginName::Email("alice".into())] {
        assert_eq!(source.resolve(&name).await.unwrap(), None, "{name:?} is the other kind");
    }
}

#[tokio::test]
async fn a_change_is_noticed_and_ends_in_a_new_version() {
    let fixture = Fixture::new();
    let hash = quick_hash(PASSWORD);
    let id = format!("id = \"{ALICE_ID}\"\n");
    fixture.write(&user("alice", &hash, &id));
    let source = fixture.open("staff");
    let alice = UserId::new(ALICE_ID);
    let test_clock = TestClock::new(Timestamp::from_secs(1_800_000_000));
    let clock = Clock::test(test_clock.clone());
    let watch = source.watch(&clock);
    let before = source.find(&alice, "alice").await.unwrap().unwrap();

    fixture.write(&user("alice", &hash, &format!("{id}roles = [\"admin\"]\n")));
    let ticking = async {
        loop {
            test_clock.advance(Duration::from_millis(1500));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = source.changed() => {}
        () = watch => {}
        () = ticking => {}
    }

    let after = source.find(&alice, "alice").await.unwrap().unwrap();
    assert_eq!(after.profile.roles, ["admin"]);
    assert_ne!(after.version, before.version);
}

#[tokio::test]
async fn a_bad_line_or_a_missing_file_keeps_the_last_good_users_and_says_so() {
    let fixture = Fixture::new();
    let good = user("alice", &quick_hash(PASSWORD), "");
    fixture.write_protected(&good);
    let source = fixture.open("staff");
    let replace = |text: &str| {
        std::fs::remove_file(fixture.path()).unwrap();
        fixture.write_protected(text);
    };

    for (bad, said) in [
        (format!("{good}\n[[user]]\nname = \"bob\"\npassword = \"hunter2\"\n"), "plain text"),
        (format!("{good}= what\n"), "line 5"),
        (String::new(), "empty"),
        (format!("{good}{good}"), "user[1].name is the same as user[0].name"),
    ] {
        replace(&bad);
        source.reload().await;

        let problem = source.problem().unwrap();
        assert!(problem.contains(said), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        assert!(is_right(&check(&*source, "alice", PASSWORD).await));
    }

    std::fs::remove_file(fixture.path()).unwrap();
    source.reload().await;
    assert!(source.problem().unwrap().contains("does not exist"));
    assert!(is_right(&check(&*source, "alice", PASSWORD).await));

    fixture.write_protected(&good);
    source.reload().await;
    assert_eq!(source.problem(), None);
}

#[tokio::test]
async fn a_weak_hash_is_replaced_at_login_and_nothing_else_is() {
    let fixture = Fixture::new();
    let hash = quick_hash(PASSWORD);
    let text =
        format!("# Ours.\n{}  # who else\n{}", user("alice", &hash, ""), user("bob", &hash, ""));
    let path = fixture.write(&text);
    let source = fixture.open("staff");
    let alice = source.resolve(&username("alice")).await.unwrap().unwrap();
    let before = source.find(&alice, "alice").await.unwrap().unwrap();

    let PasswordCheck::Correct { user, rehashed_from, .. } =
        check(&*source, "alice", PASSWORD).await
    else {
        panic!("the right password is right");
    };

    assert_eq!(rehashed_from, Some(before.version));
    assert_eq!(source.find(&alice, "alice").await.unwrap().unwrap().version, user.version);
    let now = std::fs::read_to_string(&path).unwrap();
    let new = now.lines().find(|line| line.contains("argon2id")).unwrap();
    assert_eq!(
        now.replacen(new, &format!("password = \"{hash}\""), 1),
        text,
        "the rest is as it was"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(fixture.folder.path()).unwrap().count(), 1, "no copy is left");

    let PasswordCheck::Correct { rehashed_from: None, .. } =
        check(&*source, "alice", PASSWORD).await
    else {
        panic!("the new hash is right, and strong enough");
    };
    source.reload().await;
    let quiet = tokio::time::timeout(Duration::from_millis(20), source.changed()).await;
    assert!(quiet.is_err(), "a re-hash is no change that ends sessions");
}

#[tokio::test]
async fn parallel_logins_with_a_weak_hash_all_succeed() {
    let fixture = Fixture::new();
    fixture.write(&user("alice", &quick_hash(PASSWORD), ""));
    let source = fixture.open("staff");

    let logins = (0..6).map(|_| check(&*source, "alice", PASSWORD));

    for checked in futures_util::future::join_all(logins).await {
        assert!(is_right(&checked));
    }
}

#[tokio::test]
async fn an_operators_change_survives_a_re_hash_and_is_told() {
    let fixture = Fixture::new();
    let (hash, path) = (quick_hash(PASSWORD), fixture.path());
    fixture.write(&[user("alice", &hash, ""), user("bob", &hash, "")].concat());
    let source = fixture.open("staff");

    edit::disable(&path, "bob", true).unwrap();
    let alice = check(&*source, "alice", PASSWORD).await;

    assert!(matches!(alice, PasswordCheck::Correct { rehashed_from: Some(_), .. }));
    source.changed().await;
    assert!(edit::find(&path, "staff", "bob").unwrap().unwrap().disabled);
    let bob = check(&*source, "bob", PASSWORD).await;
    assert!(matches!(bob, PasswordCheck::Wrong { disabled: true, .. }));
}

#[tokio::test]
async fn users_re_hashed_at_once_all_keep_what_they_got() {
    let fixture = Fixture::new();
    let hash = quick_hash(PASSWORD);
    let names = ["a", "b", "c", "d", "e"];
    fixture.write(&names.map(|name| user(name, &hash, "")).concat());
    let source = fixture.open("staff");

    let logins = names.map(|name| check(&*source, name, PASSWORD));
    for checked in futures_util::future::join_all(logins).await {
        let PasswordCheck::Correct { user, rehashed_from: Some(_), .. } = checked else {
            panic!("all are right and re-hashed");
        };
        let now = source.find(&user.id, &user.profile.name).await.unwrap().unwrap();
        assert_eq!(now.version, user.version, "{}", user.profile.name);
    }
}

#[tokio::test]
async fn a_file_that_may_not_be_written_keeps_its_weak_hashes() {
    let fixture = Fixture::new();
    let text = user("alice", &quick_hash(PASSWORD), "");
    let path = fixture.write_protected(&text);
    let source = fixture.open("staff");

    let (checked, cost) = fixture.cost(check(&*source, "alice", PASSWORD)).await;

    assert!(matches!(checked, PasswordCheck::Correct { rehashed_from: None, .. }));
    assert_eq!(cost.total(), 1, "nothing is hashed that cannot be kept");
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}

#[tokio::test]
async fn a_full_queue_is_busy_and_never_wrong() {
    let fixture = Fixture::new();
    let slow = HashCost::Argon2 { memory: 64 * 1024, passes: 2, lanes: 1 };
    fixture.write(&user("alice", slow.dummy().as_str(), ""));
    let pool = HashPool::start(1, 8).unwrap();
    let source = FileSource::open("staff", fixture.path(), pool).unwrap();
    let origin: Option<IpAddr> = Some([192, 0, 2, 1].into());

    let (name, password) = (username("alice"), SecretString::from("wrong"));
    let logins = (0..4).map(|_| source.check(&name, &password, origin));
    let answers = futures_util::future::join_all(logins).await;

    let busy = answers.iter().filter(|a| matches!(a, Err(SourceError::Busy { .. }))).count();
    let wrong = answers.iter().filter(|a| matches!(a, Ok(PasswordCheck::Wrong { .. }))).count();
    assert_eq!((wrong, busy), (2, 2), "the only thread takes one, the origin's share is one more");
}

#[test]
fn every_problem_of_a_file_is_listed_with_its_line_and_remedy() {
    let fixture = Fixture::new();
    let hash = quick_hash("x");
    fixture.write(&format!(
        r#"usres = 1
[[user]]
id = "42"
name = " alice"
email = "nowhere"
pasword = "{hash}"
roles = "admin"

[[user]]
name = "bob"
password = "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQxMjM0NTY$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
scopes = ["a b"]
claims = {{ sub = "root", level = nan }}
disabled = "no"
"#
    ));

    let error = FileSource::check_file("staff", &fixture.path()).unwrap_err();

    let FileError::Problems(problems) = error else { panic!("{error}") };
    let listed: Vec<_> = problems.list.iter().map(ToString::to_string).collect();
    let expected = [
        "line 1: usres is not a key here; did you mean `user`?",
        "line 2: user[0].password is missing; make a hash with `tollhouse hash`",
        "line 3: user[0].id is not a UUID; leave it out, or let `tollhouse user add` make one",
        "line 4: user[0].name has space around it; remove that",
        "line 5: user[0].email is not an e-mail address like `name@example.com`",
        "line 6: user[0].pasword is not a key here; did you mean `password`?",
        "line 7: user[0].roles is a list of strings, for example [\"admin\"]",
        "line 11: user[1].password costs too much to check at every login: m is at most 262144 (256 MiB)",
        "line 12: user[1].scopes[0] is not a scope: no spaces, quotes, \\ or non-ASCII letters",
        "line 13: user[1].claims.sub is a claim that the gateway sets itself",
        "line 13: user[1].claims.level is a number that JSON cannot carry",
        "line 14: user[1].disabled is a string; write true or false",
    ];
    assert_eq!(listed, expected);
}

#[test]
fn a_missing_file_and_one_that_everybody_may_write_are_refused() {
    let fixture = Fixture::new();
    assert!(FileSource::check_file("staff", &fixture.path()).unwrap_err().is_missing());

    let path = fixture.write(&user("alice", &quick_hash("x"), ""));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();

    let error = FileSource::check_file("staff", &path).unwrap_err();
    assert!(error.to_string().contains("chmod o-w"), "{error}");
}
