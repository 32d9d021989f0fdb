//! Names, passwords, groups and connections: what the source itself says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tollhouse::identity::UserId;
use tollhouse::secret::SecretString;
use tollhouse::users::{LoginName, PasswordCheck, UserSource};

use super::{GROUPS, admitted, cause, check, open, source, try_check, username};
use crate::harness::Slapd;
use crate::harness::certs::Certificate;
use crate::harness::gateway::PASSWORD;
use crate::harness::slapd::{GATEWAY, dn, id, write_secret};

#[tokio::test]
async fn a_user_is_what_the_attributes_say() {
    let slapd = Slapd::start();
    let keys = "attributes = { claims = { tenant = \"o\", surname = \"sn\" } }";
    let source = source(&slapd, &format!("{keys}{GROUPS}"));

    let alice = admitted(&source, "Alice").await;

    assert_eq!(alice.id, UserId::new(id('a')));
    assert_eq!((alice.profile.name.as_str(), alice.source.as_str()), ("alice", "directory"));
    assert_eq!(alice.profile.email.as_deref(), Some("alice@example.com"));
    assert_eq!(alice.profile.roles, ["admin", "developer", "tester"]);
    let claims = serde_json::Value::Object(alice.profile.claims.clone());
    assert_eq!(claims, json!({ "tenant": "acme", "surname": "Liddell" }));
    assert_eq!(source.find(&alice.id, "alice").await.unwrap(), Some(alice.clone()));
    assert_eq!(source.resolve(&username("ALICE")).await.unwrap(), Some(alice.id));
}

#[tokio::test]
async fn a_wrong_password_an_unknown_name_and_a_disabled_user_are_told_apart_inside() {
    let slapd = Slapd::start();
    let source = source(&slapd, "disabled_filter = \"(employeeType=retired)\"");
    let (alice, dora) = (UserId::new(id('a')), UserId::new(id('d')));

    let wrong = check(&source, "alice", "not it").await;
    let disabled = check(&source, "dora", PASSWORD).await;

    assert_eq!(wrong, PasswordCheck::Wrong { id: alice, disabled: false });
    assert_eq!(disabled, PasswordCheck::Wrong { id: dora.clone(), disabled: true });
    assert_eq!(check(&source, "nobody", PASSWORD).await, PasswordCheck::UnknownUser);
    assert_eq!(source.find(&dora, "dora").await.unwrap(), None, "disabled is gone");
    assert_eq!(source.problem(), None, "these are answers");
}

#[tokio::test]
async fn no_name_is_a_filter() {
    let slapd = Slapd::start();
    let source = source(&slapd, "email_filter = \"(mail={name})\"");
    let long = "a".repeat(100_000);

    for name in ["*", "a*", "alice)(uid=*", "alice)(|(uid=*", "\\61lice", "al\0ice", "", " ", &long]
    {
        for name in [LoginName::Username(name.to_owned()), LoginName::Email(name.to_owned())] {
            let found = source.check(&name, &SecretString::from(PASSWORD), None).await.unwrap();

            assert_eq!(found, PasswordCheck::UnknownUser, "{name:?}");
            assert_eq!(source.resolve(&name).await.unwrap(), None, "{name:?}");
        }
    }
    assert_eq!(source.find(&UserId::new("*"), "alice").await.unwrap(), None);
    assert_eq!(source.find(&UserId::new(format!("{})(uid=*", id('a'))), "").await.unwrap(), None);
}

#[tokio::test]
async fn a_password_that_proves_nothing_is_not_sent() {
    // This directory takes a DN without a password for an anonymous bind, and calls it a success.
    let slapd = Slapd::start_with("allow bind_anon_cred bind_anon_dn");
    let source = source(&slapd, "");
    let wrong = PasswordCheck::Wrong { id: UserId::new(id('a')), disabled: false };

    for password in ["", "\0", "\0correct horse battery", "correct horse battery\0"] {
        assert_eq!(check(&source, "alice", password).await, wrong, "{password:?}");
    }

    assert_eq!(slapd.binds(&dn("alice")), 0, "{}", slapd.log());
    assert_eq!(check(&source, "nobody", "").await, PasswordCheck::UnknownUser);
}

#[tokio::test]
async fn an_unknown_name_costs_a_bind_that_carries_nobodys_password() {
    let slapd = Slapd::start();
    let source = source(&slapd, "");
    let nobody = "cn=nobody,ou=people,dc=example";

    check(&source, "nobody", PASSWORD).await;
    source.burn_equal_time(&username("alice"), &SecretString::from(PASSWORD), None).await.unwrap();

    assert_eq!((slapd.binds(nobody), slapd.binds(&dn("alice"))), (2, 0), "{}", slapd.log());
}

#[tokio::test]
async fn two_entries_for_one_name_are_no_answer() {
    let slapd = Slapd::start();
    let source = source(&slapd, "email_filter = \"(mail={name})\"");
    let twin = LoginName::Email("twin@example.com".to_owned());
    let alice = LoginName::Email("ALICE@example.com".to_owned());

    let checked = source.check(&twin, &SecretString::from(PASSWORD), None).await;
    let resolved = source.resolve(&twin).await;

    assert!(cause(checked).contains("more than 1"), "says why");
    cause(resolved);
    assert_eq!(slapd.binds(&dn("twin1")) + slapd.binds(&dn("twin2")), 0, "never the first");
    assert_eq!(source.problem(), None, "the directory is well");
    assert_eq!(source.resolve(&alice).await.unwrap(), Some(UserId::new(id('a'))));
}

#[tokio::test]
async fn without_a_filter_for_addresses_nobody_is_known_by_one() {
    let slapd = Slapd::start();
    let source = source(&slapd, "");
    let alice = LoginName::Email("alice@example.com".to_owned());

    assert_eq!(source.resolve(&alice).await.unwrap(), None);
}

#[tokio::test]
async fn groups_outside_the_base_give_nothing() {
    let slapd = Slapd::start();
    let searched = source(&slapd, GROUPS);
    let listed = source(&slapd, &format!("attributes = {{ groups = \"memberOf\" }}{GROUPS}"));
    let keys = r#"attributes = { groups = "memberOf" }
                  groups = { base = "ou=groups,dc=example", roles = "name" }"#;
    let by_name = source(&slapd, keys);

    for source in [&searched, &listed] {
        assert_eq!(admitted(source, "alice").await.profile.roles, ["admin", "developer", "tester"]);
        assert!(
            admitted(source, "eve").await.profile.roles.is_empty(),
            "another group called admins"
        );
        assert!(admitted(source, "bob").await.profile.roles.is_empty());
    }
    assert_eq!(admitted(&by_name, "alice").await.profile.roles, ["admins", "dev"]);
    assert!(admitted(&by_name, "eve").await.profile.roles.is_empty());
}

#[tokio::test]
async fn a_user_is_found_by_id_whatever_the_name_is_now() {
    let slapd = Slapd::start();
    let source = source(&slapd, GROUPS);
    let before = admitted(&source, "alice").await;
    slapd.modify(&format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: uid=alicia\ndeleteoldrdn: 1\n",
        dn("alice")
    ));

    let after = source.find(&before.id, "alice").await.unwrap().unwrap();

    assert_eq!((after.id, after.profile.name.as_str()), (before.id, "alicia"));
    assert_eq!(source.resolve(&username("alice")).await.unwrap(), None);
}

#[tokio::test]
async fn starttls_comes_before_everything_else() {
    let slapd = Slapd::start();
    let source = open(&slapd.section_at(&format!("ldap://localhost:{}", slapd.plain), ""));

    admitted(&source, "alice").await;

    let log = slapd.log();
    let (tls, bind) = (log.find("TLS established").unwrap(), log.find("BIND").unwrap());
    assert!(log.contains("STARTTLS") && tls < bind, "{log}");
}

#[tokio::test]
async fn a_directory_without_tls_gets_no_password() {
    let slapd = Slapd::start();
    // It answers StartTLS with an error, as a server without a certificate does.
    let fake = fake_directory(STARTTLS_REFUSED).await;
    let source = open(&slapd.section_at(&format!("ldap://127.0.0.1:{}", fake.port), ""));

    let refused = try_check(&source, "alice", PASSWORD).await;

    assert!(cause(refused).contains("protocolError"));
    let seen = fake.seen();
    assert!(!seen.windows(5).any(|part| part == b"alice"), "nothing but StartTLS");
    assert!(seen.windows(10).any(|part| part == b"1.3.6.1.4."), "StartTLS was asked for");
}

#[tokio::test]
async fn a_server_that_is_not_believed_gets_no_password() {
    let slapd = Slapd::start();
    let other = tempfile::tempdir().unwrap();
    let other = (Certificate::make(other.path(), "other", &["localhost"]), other);
    let ca = format!("ca = \"{}\"", other.0.chain.display());

    for url in
        [format!("ldap://localhost:{}", slapd.plain), format!("ldaps://localhost:{}", slapd.tls)]
    {
        let source = open(&slapd.section_at(&url, &ca));

        let cause = cause(try_check(&source, "alice", PASSWORD).await);

        assert!(cause.contains("certificate"), "{cause}");
        assert!(source.problem().is_some_and(|problem| problem.contains("certificate")));
    }
    assert_eq!(slapd.binds(GATEWAY), 0, "{}", slapd.log());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let other = Certificate::make(folder.path(), "other", &["elsewhere.example"]);
    let slapd = Slapd::start_with(&format!(
        "TLSCertificateFile {}\nTLSCertificateKeyFile {}",
        other.chain.display(),
        other.key.display()
    ));
    let source = source(&slapd, &format!("ca = \"{}\"", other.chain.display()));

    let cause = cause(try_check(&source, "alice", PASSWORD).await);

    assert!(cause.contains("not valid for name"), "{cause}");
    assert_eq!(slapd.binds(GATEWAY), 0);
}

#[tokio::test]
async fn a_gateway_that_may_not_search_says_so() {
    let slapd = Slapd::start();
    let secret = tempfile::tempdir().unwrap();
    let path = secret.path().join("password");
    write_secret(&path, "not the gateway's");
    let section = slapd.section("");
    let own = section.lines().find(|line| line.starts_with("bind_password")).unwrap();
    let section =
        section.replace(own, &format!("bind_password = {{ file = \"{}\" }}", path.display()));
    let source = open(&section);

    let cause = cause(try_check(&source, "alice", PASSWORD).await);

    assert!(cause.contains("bind_dn") && cause.contains("invalidCredentials"), "{cause}");
    assert!(source.problem().is_some());
}

#[tokio::test]
async fn connections_are_bounded_and_used_again() {
    let slapd = Slapd::start();
    let source = source(&slapd, "parallel = 2");

    let checked = join_all((0..24).map(|number| {
        let source = source.clone();
        async move {
            let password = if number % 3 == 0 { "not it" } else { PASSWORD };
            check(&source, "alice", password).await
        }
    }))
    .await;

    let right = checked.iter().filter(|one| matches!(one, PasswordCheck::Correct { .. })).count();
    assert_eq!((right, checked.len()), (16, 24));
    assert!((1..=2).contains(&slapd.binds(GATEWAY)), "each is bound once, to search");
    let log = slapd.log();
    let proving = log.lines().filter(|line| line.contains("BIND dn=\"uid=alice,"));
    let proving: BTreeSet<&str> = proving
        .map(|line| line.split(" conn=").nth(1).unwrap().split(' ').next().unwrap())
        .collect();
    assert!((1..=2).contains(&proving.len()), "as many to prove: {proving:?}");
    assert_eq!(slapd.binds(&dn("alice")), 24);
}

#[tokio::test]
async fn a_connection_that_broke_in_the_meantime_is_replaced() {
    let mut slapd = Slapd::start();
    let source = source(&slapd, "");
    admitted(&source, "alice").await;

    slapd.kill();
    slapd.run();

    admitted(&source, "alice").await;
    assert_eq!(source.problem(), None);
}

#[tokio::test]
async fn the_next_server_stands_in_for_one_that_is_down() {
    let slapd = Slapd::start();
    let silent = fake_directory(b"").await;
    let urls = format!("ldaps://localhost:{}\", \"ldaps://localhost:{}", silent.port, slapd.tls);
    let source = open(&slapd.section_at(&urls, "timeout = \"4s\""));
    // The certificate is the same, so that silence is all that is wrong with the first.
    let started = Instant::now();

    admitted(&source, "alice").await;
    let first = started.elapsed();
    admitted(&source, "alice").await;

    assert!(first < Duration::from_secs(4), "{first:?}");
    assert_eq!(source.problem(), None);
}

#[tokio::test]
async fn a_directory_that_never_answers_is_given_up_in_time() {
    let slapd = Slapd::start();
    let silent = fake_directory(b"").await;
    let url = format!("ldap://127.0.0.1:{}", silent.port);
    let source = open(&slapd.section_at(&url, "tls = \"none\"\ntimeout = \"300ms\""));
    let started = Instant::now();

    let answers = join_all((0..20).map(|_| try_check(&source, "alice", PASSWORD))).await;

    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for answer in answers {
        cause(answer);
    }
}

#[tokio::test]
async fn many_users_of_a_silent_directory_do_not_wait_one_after_the_other() {
    let slapd = Slapd::start();
    let silent = fake_directory(b"").await;
    let source = open(&slapd.section_at(&format!("ldaps://localhost:{}", silent.port), ""));
    let started = Instant::now();

    for _ in 0..50 {
        cause(source.find(&UserId::new(id('a')), "alice").await);
    }

    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn nonsense_costs_one_answer() {
    let slapd = Slapd::start();
    for nonsense in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x30\x02\x02\x00", b"\x30\x00"] {
        let fake = fake_directory(nonsense).await;
        let url = format!("ldap://127.0.0.1:{}", fake.port);
        let source = open(&slapd.section_at(&url, "tls = \"none\"\ntimeout = \"500ms\""));

        cause(try_check(&source, "alice", PASSWORD).await);
    }
}

#[tokio::test]
async fn a_referral_is_not_followed() {
    let slapd = Slapd::start();
    let elsewhere = fake_directory(b"").await;
    slapd.modify(&format!(
        "dn: uid=far,ou=people,dc=example\nchangetype: add\nobjectClass: referral\n\
         objectClass: extensibleObject\nuid: far\nref: ldap://127.0.0.1:{}/uid=far,dc=far\n",
        elsewhere.port
    ));
    let source = source(&slapd, "");

    assert_eq!(check(&source, "far", PASSWORD).await, PasswordCheck::UnknownUser);
    admitted(&source, "alice").await;

    assert!(elsewhere.seen().is_empty(), "nobody came");
}

/// Answers whatever comes with the same bytes, and records it.
struct FakeDirectory {
    port: u16,
    seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

/// An extended response to message 1: protocolError.
const STARTTLS_REFUSED: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00";

async fn fake_directory(answer: &'static [u8]) -> FakeDirectory {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let journal = seen.clone();
    let task = tokio::task::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let journal = journal.clone();
            tokio::task::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    journal.lock().unwrap().extend_from_slice(&buffer[..read]);
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    FakeDirectory { port, seen, task }
}

impl FakeDirectory {
    fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for FakeDirectory {
    fn drop(&mut self) {
        self.task.abort();
    }
}
