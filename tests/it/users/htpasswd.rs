//! Users in an `htpasswd` file, and hashes that are imported or replaced because they are weak.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::json;
use tollhouse::clock::Clock;
use tollhouse::identity::{IdRules, UserId};
use tollhouse::passwords::{HashCounts, HashPool};
use tollhouse::secret::SecretString;
use tollhouse::session::{AccountKey, EmbeddedOptions, EmbeddedStore};
use tollhouse::settings::{AllowWeak, HtpasswdUsers, WeakScheme};
use tollhouse::users::{
    FileError, FileSource, LoginName, PasswordCheck, SourceContext, UserSource,
};

use crate::harness::gateway::PASSWORD;
use crate::harness::process::{folder, run_in};
use crate::harness::{Client, Gateway, Reply, Upstream};

/// `htpasswd -5 -r 1000` for `PASSWORD`, and `htpasswd -2 -r 1000` for "another one".
const SHA512: &str = "$6$rounds=1000$OLdGVMQvwsPVhT0m$LgY/Lr2Bx6ohWTq1trVvse3hZ9nhqGvv7LyPykMZ7MybcGLXmAr7hwFZb94cXNMEsu6nLzwBak8DB44EOshC.1";
const SHA256: &str = "$5$rounds=1000$wksR.VyOwWv2xY50$9Va9.cpNuao7xulc.UvZrm9MRpRdk/gdDCgYbDwe7d7";
/// `slappasswd -h '{SSHA}'` for `PASSWORD`.
const SSHA: &str = "{SSHA}Esxh7LLKTnkDxXgZPV34syaNRvainhRD";
const APR1: &str = "$apr1$Ys18Eh/1$4UEYsmNrI8TZQa1bc5wFZ0";

fn bcrypt(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap().replace("$2b$", "$2y$")
}

struct Fixture {
    folder: tempfile::TempDir,
    means: SourceContext,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(EmbeddedOptions {
            path: folder.path().join("store.redb"),
            clock: Clock::system(),
            leeway: Duration::from_secs(30),
            longest_access: Duration::from_secs(600),
            ids: IdRules::default(),
            keys_exist: false,
            new_state: false,
            backend_faults: None,
        });
        let hashing = HashPool::start(2, 64).unwrap();
        Self {
            folder,
            means: SourceContext { hashing, store: store.unwrap(), clock: Clock::system() },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    fn config(&self) -> HtpasswdUsers {
        HtpasswdUsers { path: self.path("htpasswd"), ..HtpasswdUsers::default() }
    }

    fn open(&self, config: &HtpasswdUsers) -> Arc<FileSource> {
        FileSource::open_htpasswd("apache", config, &self.means).unwrap()
    }

    fn refused(&self, config: &HtpasswdUsers) -> Vec<String> {
        let error = FileSource::open_htpasswd("apache", config, &self.means).unwrap_err();
        let FileError::Problems(problems) = error else { panic!("{error}") };
        problems.list.iter().map(ToString::to_string).collect()
    }

    /// What `work` hashed.
    async fn cost<T>(&self, work: impl Future<Output = T>) -> (T, HashCounts) {
        let before = self.means.hashing.operations();
        let result = work.await;
        (result, self.means.hashing.operations() - before)
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn check(source: &dyn UserSource, name: &str, password: &str) -> PasswordCheck {
    let name = LoginName::Username(name.to_owned());
    source.check(&name, &SecretString::from(password), None).await.unwrap()
}

#[track_caller]
fn right(checked: PasswordCheck) -> tollhouse::users::UserRecord {
    let PasswordCheck::Correct { user, rehashed_from: None, .. } = checked else {
        panic!("{checked:?}")
    };
    *user
}

fn is_wrong(checked: &PasswordCheck) -> bool {
    matches!(checked, PasswordCheck::Wrong { disabled: false, .. })
}

#[tokio::test]
async fn every_line_is_a_user_with_his_groups_as_roles() {
    let fixture = Fixture::new();
    let text = format!(
        "# The office.\n\nAlice:{SHA512}\r\nbob:{SHA256}\ncarol@example.com:{}\n",
        bcrypt("third")
    );
    fixture.write("htpasswd", &text);
    fixture.write("htgroup", "admin: alice nobody\n\nstaff:bob ALICE\nadmin: alice\nempty:\n");
    let (groups, roles) = (Some(fixture.path("htgroup")), vec!["user".to_owned()]);
    let source = fixture.open(&HtpasswdUsers { groups, roles, ..fixture.config() });

    let alice = right(check(&*source, "alice", PASSWORD).await);
    assert_eq!((alice.profile.name.as_str(), alice.source.as_str()), ("Alice", "apache"));
    assert_eq!(alice.profile.roles, ["user", "admin", "staff"]);
    assert_eq!(right(check(&*source, "BOB", "another one").await).profile.roles, ["user", "staff"]);
    assert_eq!(right(check(&*source, "carol@example.com", "third").await).profile.roles, ["user"]);

    assert!(is_wrong(&check(&*source, "alice", "another one").await));
    assert!(is_wrong(&check(&*source, "alice", "").await));
    assert_eq!(check(&*source, "nobody", PASSWORD).await, PasswordCheck::UnknownUser);
    assert_eq!(source.find(&alice.id, "Alice").await.unwrap(), Some(alice.clone()));
    assert_eq!(source.find(&UserId::new("nobody"), "nobody").await.unwrap(), None);
    let again = fixture.open(&fixture.config());
    let id = again.resolve(&LoginName::Username("alice".to_owned())).await.unwrap();
    assert_eq!(id, Some(alice.id), "the id is made of source and name");
    let text = std::fs::read_to_string(fixture.path("htpasswd")).unwrap();
    assert!(!text.contains("argon2"), "the file is never written");
}

#[test]
fn every_bad_line_is_told_with_its_number_and_what_to_do() {
    let fixture = Fixture::new();
    fixture.write(
        "htpasswd",
        &format!(
            "a:{APR1}\nb:{{SHA}}iPIjShTT0XTeFsNrRFgeEV8NuOo=\nc:mK3CDW9mals02\nd:hunter2\n\
             hunter2\n:x\n e:x\nok:{SHA512}\nOK:{SHA512}\nf:$2y$16$x\ng:{SSHA}\n\
             h:$5$rounds=2000000$abcdefgh${}.\n",
            "A".repeat(42)
        ),
    );

    let told = fixture.refused(&fixture.config());

    let expected = [
        "line 1: the hash of `a` is a `apr1` hash, which is too weak to take; re-create it with `htpasswd -B FILE a`",
        "line 2: the hash of `b` is a `{SHA}` hash, which is too weak to take; re-create it with `htpasswd -B FILE b`",
        "line 3: the hash of `c` is a password in plain text or an old crypt(3) hash; re-create it with `htpasswd -B FILE c`",
        "line 4: the hash of `d` is a password in plain text or an old crypt(3) hash; re-create it with `htpasswd -B FILE d`",
        "line 5: is not `name:hash`; make it with `htpasswd -B FILE NAME`",
        "line 6: the name is empty",
        "line 7: the name has space around it; remove that",
        "line 9: the name `OK` is the same as in line 8, case and spacing aside",
        "line 10: the hash of `f` is a damaged bcrypt hash; re-create it with `htpasswd -B FILE f`",
        "line 11: the hash of `g` is a `ssha` hash, which is weak: the source takes it with allow_weak = [\"ssha\"]; re-create it with `htpasswd -B FILE g`",
        "line 12: the hash of `h` costs too much to check at every login: SHA-crypt's rounds are at most 1000000",
    ];
    assert_eq!(told, expected);

    fixture.write("htpasswd", "# Nobody yet.\n");
    assert!(fixture.refused(&fixture.config())[0].contains("no users"));
    fixture.write("htpasswd", &format!("a:{SHA512}\n"));
    fixture.write("htgroup", "admin: a\nstaff a\n : a\n");
    let groups = Some(fixture.path("htgroup"));
    let told = fixture.refused(&HtpasswdUsers { groups, ..fixture.config() });
    assert_eq!(
        told,
        ["line 2: is not `group: name name`", "line 3: the group's name is empty"],
        "{told:?}"
    );
}

#[tokio::test]
async fn a_file_that_becomes_bad_keeps_the_last_good_users_and_says_so() {
    let fixture = Fixture::new();
    fixture.write("htpasswd", &format!("alice:{SHA512}\n"));
    fixture.write("htgroup", "admin: alice\n");
    let groups = Some(fixture.path("htgroup"));
    let source = fixture.open(&HtpasswdUsers { groups, ..fixture.config() });
    let before = right(check(&*source, "alice", PASSWORD).await);

    for (file, bad, said) in [
        ("htpasswd", format!("alice:{SHA512}\nbob:{APR1}\n"), "line 2"),
        ("htpasswd", String::new(), "no users"),
        ("htgroup", "admin\n".to_owned(), "htgroup, line 1"),
    ] {
        let good = std::fs::read_to_string(fixture.path(file)).unwrap();
        fixture.write(file, &bad);
        source.reload().await;

        assert!(source.problem().unwrap().contains(said), "{:?}", source.problem());
        assert_eq!(right(check(&*source, "alice", PASSWORD).await), before);

        fixture.write(file, &good);
        source.reload().await;
        assert_eq!(source.problem(), None);
    }

    fixture.write("htgroup", "other: alice\n");
    source.reload().await;
    source.changed().await;
    let after = right(check(&*source, "alice", PASSWORD).await);
    assert_eq!(after.profile.roles, ["other"]);
    assert_ne!(after.version, before.version, "other roles end sessions");
}

#[tokio::test]
async fn an_imported_hash_decides_until_the_file_has_another() {
    let fixture = Fixture::new();
    fixture.write("htpasswd", &format!("alice:{SHA512}\n"));
    let source = fixture.open(&HtpasswdUsers { import: true, ..fixture.config() });

    let (first, cost) = fixture.cost(check(&*source, "alice", PASSWORD)).await;
    let alice = right(first);
    assert_eq!((cost.sha_crypt, cost.argon2), (1, 1), "checked there, hashed here");
    let key = AccountKey::Subject(&alice.id);
    let account = fixture.means.store.find_account("apache", key).await.unwrap().unwrap();
    assert!(account.hash.unwrap().starts_with("$argon2id$"));
    assert_eq!(fixture.means.store.account_counts("apache").await.unwrap().imported, 1);

    let (again, cost) = fixture.cost(check(&*source, "alice", PASSWORD)).await;
    assert_eq!((cost.sha_crypt, cost.argon2), (0, 1), "only ours decides");
    assert_eq!(right(again).version, alice.version, "sessions know nothing of it");
    assert!(is_wrong(&check(&*source, "alice", "another one").await));

    fixture.write("htpasswd", &format!("alice:{SHA256}\n"));
    source.reload().await;
    assert!(is_wrong(&check(&*source, "alice", PASSWORD).await), "it was changed there");
    let changed = right(check(&*source, "alice", "another one").await);
    assert_eq!(changed.id, alice.id);
    assert_ne!(changed.version, alice.version);
    let (_, cost) = fixture.cost(check(&*source, "alice", "another one")).await;
    assert_eq!((cost.sha_crypt, cost.argon2), (0, 1), "the new one was imported, too");
}

#[tokio::test]
async fn whether_a_user_was_imported_does_not_show_in_what_a_refusal_costs() {
    let fixture = Fixture::new();
    fixture.write("htpasswd", &format!("alice:{SHA512}\nbob:{SHA512}\n"));
    let source = fixture.open(&HtpasswdUsers { import: true, ..fixture.config() });
    right(check(&*source, "alice", PASSWORD).await);
    assert_eq!((source.imports(), source.total().await), (true, Some(2)), "one is left");

    let (_, expected) = fixture.cost(check(&*source, "nobody", "wrong")).await;

    assert_eq!((expected.sha_crypt, expected.argon2, expected.total()), (1, 1, 2));
    for (name, password) in [("alice", "wrong"), ("bob", "wrong"), ("alice", ""), ("nobody", "")] {
        let (_, cost) = fixture.cost(check(&*source, name, password)).await;
        assert_eq!(cost, expected, "{name} with {password:?}");
    }
}

#[tokio::test]
async fn nothing_is_kept_without_import() {
    let fixture = Fixture::new();
    fixture.write("htpasswd", &format!("alice:{SHA512}\n"));
    let source = fixture.open(&fixture.config());

    let (checked, cost) = fixture.cost(check(&*source, "alice", PASSWORD)).await;

    right(checked);
    assert_eq!((cost.sha_crypt, cost.total()), (1, 1));
    assert_eq!(fixture.means.store.account_counts("apache").await.unwrap().known, 0);
}

#[tokio::test]
async fn a_weak_hash_in_a_users_file_is_counted_and_replaced_at_the_first_login() {
    let fixture = Fixture::new();
    let webitel = "{webitel-md5:100@mydomain.com}24d9dc3e5b69d5a111cbfbfdc1e55193";
    let user =
        |name: &str, hash: &str| format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\n");
    fixture.write("users.toml", &[user("alice", SSHA), user("bob", webitel)].concat());
    let (path, pool) = (fixture.path("users.toml"), fixture.means.hashing.clone());

    let refused = FileSource::open("staff", &path, pool.clone()).unwrap_err().to_string();
    assert!(refused.contains("line 3: user[0].password is a `ssha` hash"), "{refused}");
    assert!(refused.contains("allow_weak = [\"webitel-md5\"]"), "{refused}");
    assert!(!refused.contains("mydomain"), "{refused}");

    let source = FileSource::open_allowing("staff", &path, AllowWeak::all(), pool.clone()).unwrap();
    assert!(is_wrong(&check(&*source, "bob", "wrong").await));
    assert!(pool.weak_logins().is_empty(), "a wrong password is no login");
    for name in ["alice", "bob"] {
        let checked = check(&*source, name, PASSWORD).await;
        assert!(
            matches!(checked, PasswordCheck::Correct { rehashed_from: Some(_), .. }),
            "{checked:?}"
        );
        let checked = check(&*source, name, PASSWORD).await;
        assert!(
            matches!(checked, PasswordCheck::Correct { rehashed_from: None, .. }),
            "{checked:?}"
        );
    }
    assert_eq!(pool.weak_logins(), [(WeakScheme::Ssha, 1), (WeakScheme::WebitelMd5, 1)]);
    let now = std::fs::read_to_string(&path).unwrap();
    assert_eq!(now.matches("$argon2id$").count(), 2, "{now}");
    assert!(FileSource::open("staff", &path, pool).is_ok(), "the leave is needed no more");
}

/// A gateway whose `users.toml` is replaced by `section`.
async fn gateway(upstream: &Upstream, section: &str, file: (&str, &str)) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join(file.0), file.1);
    let builder = Gateway::builder().with_users(section);
    builder.on(dir).login("native").route_to(upstream, "").start().await
}

async fn log_in(gateway: &Gateway, name: &str, password: &str) -> Reply {
    let login = json!({ "username": name, "password": password });
    gateway.client().post("/auth/login").json(login).send().await
}

async fn metrics(gateway: &Gateway) -> String {
    Client::plain(gateway.running().admin_address().unwrap()).get("/metrics").send().await.text()
}

#[tokio::test]
async fn a_changed_password_in_htpasswd_ends_the_sessions_of_its_user_only() {
    let upstream = Upstream::start().await;
    let section = "[[users]]\nname = \"apache\"\nkind = \"htpasswd\"\npath = \"htpasswd\"\n\
                   roles = [\"staff\"]\nimport = true";
    let text = format!("alice:{SHA512}\nbob:{SHA512}\n");
    let gateway = gateway(&upstream, section, ("htpasswd", &text)).await;
    log_in(&gateway, "alice", "wrong").await.assert_status(401);
    upstream.assert_untouched();

    let alice = log_in(&gateway, "alice", PASSWORD).await.member("access_token");
    let bob = log_in(&gateway, "bob", PASSWORD).await.member("access_token");
    log_in(&gateway, "bob", PASSWORD).await.assert_status(200);
    for token in [&alice, &bob] {
        gateway.client().get("/").bearer(token).send().await.assert_status(200);
    }
    assert_eq!(upstream.last().header("x-auth-roles"), Some("staff"));

    write(
        &gateway.dir().join("htpasswd"),
        &format!("alice:{}\nbob:{SHA512}\n", bcrypt("a new one")),
    );
    let patience = Instant::now();
    while gateway.client().get("/").bearer(&alice).send().await.status != 401 {
        assert!(patience.elapsed() < Duration::from_secs(10), "her session does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway.client().get("/").bearer(&bob).send().await.assert_status(200);
    log_in(&gateway, "alice", PASSWORD).await.assert_status(401);
    log_in(&gateway, "alice", "a new one").await.assert_status(200);
}

#[tokio::test]
async fn a_login_by_a_weak_hash_is_counted_and_its_session_goes_on_when_it_is_replaced() {
    let upstream = Upstream::start().await;
    let section = "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n\
                   allow_weak = [\"ssha\"]";
    let text = format!("[[user]]\nname = \"alice\"\npassword = \"{SSHA}\"\n");
    let gateway = gateway(&upstream, section, ("users.toml", &text)).await;

    let token = log_in(&gateway, "alice", PASSWORD).await.member("access_token");

    let now = std::fs::read_to_string(gateway.dir().join("users.toml")).unwrap();
    assert!(now.contains("$argon2id$") && !now.contains("SSHA"), "{now}");
    log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);
    let told = metrics(&gateway).await;
    let counted = "tollhouse_weak_password_logins_total{scheme=\"ssha\"} 1";
    assert!(told.lines().any(|line| line == counted), "{told}");
}

#[test]
fn check_and_a_failed_start_name_every_bad_line() {
    let (dir, _) = folder("");
    write(&dir.path().join("htpasswd"), &format!("alice:{SHA512}\nbob:{APR1}\ncarol:hunter2\n"));
    write(&dir.path().join("users.toml"), "[[user]]\nname = 7\n");
    let config = std::fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    let both = config.replace(
        "users = [{",
        "users = [{ name = \"apache\", kind = \"htpasswd\", path = \"htpasswd\" }, {",
    );
    std::fs::write(dir.path().join("gateway.toml"), both).unwrap();

    let told = run_in(dir.path(), &["check"], "").failed(
        78,
        &["users[0].path", "line 2", "line 3", "htpasswd -B FILE bob", "users.toml", "user[0]"],
    );
    assert!(!told.contains("hunter2") && !told.contains("Ys18Eh"), "{told}");
    run_in(dir.path(), &["run"], "").failed(78, &["`apache`", "line 2", "line 3"]);

    std::fs::remove_file(dir.path().join("htpasswd")).unwrap();
    for command in ["check", "run"] {
        run_in(dir.path(), &[command], "").failed(78, &["users[0].path", "there is no such file"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_can_stop_the_process(noise in any::<String>(), cut in 0_usize..200) {
        let fixture = Fixture::new();
        let good = format!("alice:{SHA512}\nbob:{APR1}\n");
        let cut = cut.min(good.len());
        for text in [noise.clone(), format!("{}{noise}{}", &good[..cut], &good[cut..])] {
            fixture.write("htpasswd", &text);
            fixture.write("htgroup", &noise);
            let groups = Some(fixture.path("htgroup"));
            let config = HtpasswdUsers { groups, allow_weak: AllowWeak::all(), ..fixture.config() };
            let _ = FileSource::open_htpasswd("apache", &config, &fixture.means);
        }
    }
}
