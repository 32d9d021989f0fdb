//! Rows and the users they are, and hashes that are replaced in the database.

use std::sync::Arc;

use serde_json::json;
use tollhouse::settings::SqlUsers;
use tollhouse::users::{
    LoginName, PasswordCheck, SourceContext, SourceError, SqlSource, UserSource,
};

use super::{Engine, OnMariaDb, OnPostgres, OnSqlite};
use crate::users::contract::sql::means;
use crate::users::contract::{ALICE, Account, BOB, CAROL, PASSWORD, check, right, username};

struct Fixture<E> {
    engine: E,
    means: SourceContext,
    _folder: tempfile::TempDir,
}

impl<E: Engine> Fixture<E> {
    async fn with(accounts: &[Account]) -> Self {
        let engine = E::with(accounts).await;
        let (folder, means) = means();
        Self { engine, means, _folder: folder }
    }

    fn open(&self, change: impl FnOnce(&mut SqlUsers)) -> Arc<SqlSource> {
        let mut settings = self.engine.settings();
        change(&mut settings);
        SqlSource::open("staff", &settings, &self.means).unwrap()
    }
}

async fn refused(source: &SqlSource, name: &str) -> String {
    let answer = source.check(&username(name), &PASSWORD.into(), None).await;
    match answer.unwrap_err() {
        SourceError::Unavailable { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn columns_become_what_the_operator_says_they_are() {
    let fixture = Fixture::<OnPostgres>::with(&[ALICE]).await;
    let source = fixture.open(|settings| {
        settings.query = "select 7 as number, name as login, password as hash, 'x@y.example' as \
                          mail, 'b, a' as groups, '[\"read\", \"two words\"]' as may, 0 as locked, \
                          '{\"id\": 3}'::jsonb as org, null as nothing, 'root' as evil \
                          from users where name = $1"
            .to_owned();
        let columns = &mut settings.columns;
        for (column, name) in [
            (&mut columns.id, "number"),
            (&mut columns.name, "login"),
            (&mut columns.password, "HASH"),
            (&mut columns.email, "mail"),
            (&mut columns.roles, "groups"),
            (&mut columns.scopes, "may"),
            (&mut columns.disabled, "locked"),
        ] {
            *column = name.into();
        }
        columns.claims = [("tenant", "org"), ("none", "nothing"), ("roles", "evil")]
            .map(|(claim, column)| (claim.to_owned(), column.to_owned()))
            .to_vec();
    });

    let user = right(&*source, "alice", PASSWORD).await;

    assert_eq!((user.id.as_str(), user.profile.name.as_str()), ("7", "alice"));
    assert_eq!(user.profile.email.as_deref(), Some("x@y.example"));
    assert_eq!(user.profile.roles, ["b", "a"]);
    assert_eq!(user.profile.scopes, ["read"], "what is no scope is left out");
    assert_eq!(
        json!(user.profile.claims),
        json!({"tenant": {"id": 3}}),
        "NULL and our own claims are not"
    );
}

#[tokio::test]
async fn a_column_that_was_named_has_to_be_there() {
    let fixture = Fixture::<OnSqlite>::with(&[ALICE, CAROL]).await;
    for (change, column) in [
        ((|s| s.columns.disabled = "locked".into()) as fn(&mut SqlUsers), "locked"),
        (|s| s.columns.scopes = "scopes".into(), "scopes"),
        (|s| s.columns.claims = vec![("a".into(), "org".into())], "org"),
        (|s| s.query = "select name, roles from users where name = $1".into(), "password"),
        (|s| s.query = "select password from users where name = $1".into(), "name"),
    ] {
        let source = fixture.open(change);

        let cause = refused(&source, "carol").await;

        assert_eq!(cause, format!("the query has no column `{column}`"));
        let looked = fixture.open(change);
        looked.reload().await;
        assert_eq!(looked.problem(), Some(format!("`staff`: {cause}")), "known before any login");
    }
}

/// The log said "the database answers as it should" right after a login that could not work.
#[tokio::test]
async fn a_probe_takes_back_only_what_it_can_see() {
    let mut fixture = Fixture::<OnPostgres>::with(&[ALICE]).await;
    let source = fixture.open(|_| ());
    fixture.engine.replace(&[ALICE, ALICE]).await;
    let cause = refused(&source, "alice").await;
    assert!(cause.contains("more than one row"), "{cause}");

    source.reload().await;

    assert_eq!(source.problem(), Some(format!("`staff`: {cause}")), "only a login can see that");
    fixture.engine.replace(&[ALICE]).await;
    right(&*source, "alice", PASSWORD).await;
    assert_eq!(source.problem(), None);

    fixture.engine.stop().await;
    refused(&source, "alice").await;
    fixture.engine.bring_back().await;
    source.reload().await;

    assert_eq!(source.problem(), None, "that it is there again can be seen without a login");
}

#[tokio::test]
async fn a_name_that_is_null_and_a_date_for_a_flag_are_no_answer() {
    let fixture = Fixture::<OnPostgres>::with(&[ALICE]).await;
    for (query, told) in [
        ("select null as name, password from users where name = $1", "no text in column `name`"),
        ("select name, password, now() as disabled from users where name = $1", "TIMESTAMPTZ"),
        (
            "select name, password, 1 as id, 2 as id from users where name = $1",
            "more than one column",
        ),
        ("select name, password from users where nmae = $1", "nmae"),
    ] {
        let source = fixture.open(|settings| settings.query = query.to_owned());

        let cause = refused(&source, "alice").await;

        assert!(cause.contains(told), "{query}: {cause}");
    }
}

#[tokio::test]
async fn whatever_is_not_plainly_no_disables() {
    let fixture = Fixture::<OnPostgres>::with(&[ALICE]).await;
    for (flag, disabled) in [
        ("false", false),
        ("null::boolean", false),
        ("0", false),
        ("''", false),
        ("'no'", false),
        ("true", true),
        ("1", true),
        ("-1", true),
        ("'2020-01-01'", true),
        ("'{}'::text[]", true),
    ] {
        let source = fixture.open(|settings| {
            settings.query =
                format!("select name, password, {flag} as disabled from users where name = $1");
        });

        let checked = check(&*source, "alice", PASSWORD).await;

        match checked {
            PasswordCheck::Correct { .. } => assert!(!disabled, "{flag}"),
            other => {
                assert!(disabled && matches!(other, PasswordCheck::Wrong { disabled: true, .. }))
            }
        }
    }
}

#[tokio::test]
async fn a_hash_that_cannot_be_read_lets_nobody_in_and_takes_as_long() {
    let fixture = Fixture::<OnSqlite>::with(&[ALICE, BOB]).await;
    let source = fixture.open(|_| {});
    right(&*source, "bob", PASSWORD).await;
    for stored in ["'correct horse battery'", "''", "null", "'$2b$04$short'", "'$1$a$b'"] {
        let change = format!("update users set password = {stored} where name = 'alice'");
        fixture.engine.execute(&change).await;
        let before = fixture.means.hashing.operations();

        for password in [PASSWORD, "", "wrong"] {
            let checked = check(&*source, "alice", password).await;
            assert!(matches!(checked, PasswordCheck::Wrong { .. }), "{stored} with {password:?}");
        }

        assert_eq!((fixture.means.hashing.operations() - before).total(), 3, "{stored}");
        right(&*source, "bob", PASSWORD).await;
    }
}

#[tokio::test]
async fn without_a_query_for_addresses_nobody_logs_in_by_one() {
    let fixture = Fixture::<OnSqlite>::with(&[ALICE]).await;
    let source = fixture.open(|settings| settings.email_query = None);

    let name = LoginName::Email(ALICE.email.to_owned());
    let checked = source.check(&name, &PASSWORD.into(), None).await.unwrap();

    assert_eq!(checked, PasswordCheck::UnknownUser);
}

async fn replaces<E: Engine>() {
    let fixture = Fixture::<E>::with(&[ALICE, BOB]).await;
    let source = fixture.open(|settings| settings.update = Some(E::UPDATE.to_owned()));
    let id = source.resolve(&username("alice")).await.unwrap().unwrap();
    let before = source.find(&id, "alice").await.unwrap().unwrap();
    let bob = source.resolve(&username("bob")).await.unwrap().unwrap();
    let bob_before = source.find(&bob, "bob").await.unwrap();

    assert!(matches!(check(&*source, "alice", "wrong").await, PasswordCheck::Wrong { .. }));
    assert_eq!(source.find(&id, "alice").await.unwrap().as_ref(), Some(&before), "wrong: nothing");
    let PasswordCheck::Correct { user, rehashed_from, .. } =
        check(&*source, "alice", PASSWORD).await
    else {
        panic!("the right password is right");
    };

    assert_eq!(rehashed_from, Some(before.version));
    assert_ne!(user.version, before.version);
    let after = source.find(&id, "alice").await.unwrap().unwrap();
    assert_eq!(after, *user, "the version that the login told is that of the database");
    let PasswordCheck::Correct { rehashed_from: None, .. } =
        check(&*source, "alice", PASSWORD).await
    else {
        panic!("the new hash is right, and strong enough");
    };
    assert!(matches!(check(&*source, "alice", "wrong").await, PasswordCheck::Wrong { .. }));
    assert_eq!(source.find(&bob, "bob").await.unwrap(), bob_before, "and nobody else");
}

#[tokio::test]
async fn a_weak_hash_is_replaced_in_the_database_where_the_operator_says_how() {
    replaces::<OnPostgres>().await;
    replaces::<OnMariaDb>().await;
    replaces::<OnSqlite>().await;
}

#[tokio::test]
async fn parallel_logins_that_replace_one_hash_all_have_its_version() {
    let fixture = Fixture::<OnPostgres>::with(&[ALICE]).await;
    let source = fixture.open(|settings| settings.update = Some(OnPostgres::UPDATE.to_owned()));

    let logins = (0..8).map(|_| right(&*source, "alice", PASSWORD));
    let users = futures_util::future::join_all(logins).await;

    let now = source.find(&users[0].id, "alice").await.unwrap().unwrap();
    assert!(users.iter().all(|user| *user == now), "no session of theirs ends at its refresh");
}

#[tokio::test]
async fn an_update_that_would_change_everybody_changes_nobody() {
    let fixture = Fixture::<OnMariaDb>::with(&[ALICE, BOB]).await;
    let all = "update users set password = ? where ? <> '' and ? <> ''";
    for update in [all, "update nowhere set password = ? where name = ? and password = ?"] {
        let source = fixture.open(|settings| settings.update = Some(update.to_owned()));
        let before = right(&*fixture.open(|_| {}), "alice", PASSWORD).await;

        let PasswordCheck::Correct { user, rehashed_from, .. } =
            check(&*source, "alice", PASSWORD).await
        else {
            panic!("a login does not fail by it");
        };

        assert_eq!((*user, rehashed_from), (before, None), "{update}");
        right(&*source, "bob", PASSWORD).await;
    }
}

#[tokio::test]
async fn without_an_update_nothing_is_written() {
    let fixture = Fixture::<OnPostgres>::with(&[ALICE]).await;
    fixture
        .engine
        .execute("revoke all on users from gateway; grant select on users to gateway")
        .await;
    let source = fixture.open(|_| {});

    let first = check(&*source, "alice", PASSWORD).await;
    let second = check(&*source, "alice", PASSWORD).await;

    assert!(matches!(first, PasswordCheck::Correct { rehashed_from: None, .. }));
    assert_eq!(first, second);
}
