//! Questions to real databases: what is read, what is refused, and what is bounded.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollhouse::database::{AccessMode, Database, DatabaseAddress, DatabaseError, DatabaseOptions};
use tollhouse::secret::SecretString;

use super::{Engine, OnMariaDb, OnPostgres, OnSqlite};
use crate::harness::certs::Certificate;
use crate::harness::{MariaDb, Postgres};
use crate::users::contract::{ALICE, BOB};

fn open(url: &str, options: DatabaseOptions, access: AccessMode) -> Database {
    let address = DatabaseAddress::parse(&SecretString::from(url), Path::new("")).unwrap();
    Database::new(address, options, access)
}

fn reader(url: &str) -> Database {
    open(url, DatabaseOptions::default(), AccessMode::Read)
}

fn quick(url: &str) -> Database {
    let timeout = Duration::from_millis(500);
    open(url, DatabaseOptions { timeout, ..DatabaseOptions::default() }, AccessMode::Read)
}

/// The only row of a query, as one object.
async fn row(database: &Database, query: &str) -> Value {
    let rows = database.rows(query, &[], 1).await.unwrap_or_else(|error| panic!("{error}"));
    let value = |column: &str| (column.to_owned(), rows[0].value(column).unwrap().clone());
    Value::Object(rows[0].columns().map(value).collect())
}

#[tokio::test]
async fn postgres_values_are_read_as_what_they_are() {
    let engine = OnPostgres::with(&[]).await;
    engine
        .execute(
            "create type mood as enum ('calm', 'wild'); create domain code as varchar(9); \
             create extension if not exists citext",
        )
        .await;
    let database = reader(&engine.url());

    let found = row(
        &database,
        "select 'é'::text t, 'v'::varchar v, 'c'::char(3) c, 'n'::name n, 'X'::citext x, \
         'd'::code d, 'wild'::mood e, true b, -1::int2 i2, 2::int4 i4, \
         9223372036854775807::int8 i8, 0.5::float8 f, null::text nothing, \
         '6F1C4D7E-0d3a-4c58-9d5e-3a8f0b1c2d3e'::uuid u, '{\"a\": [1]}'::json j, \
         '{\"b\": null}'::jsonb k, '{a,\"b c\",null}'::text[] ta, '{}'::text[] empty, \
         '{1,2}'::int[] ia, '{calm}'::mood[] ea",
    )
    .await;

    assert_eq!(
        found,
        json!({
            "t": "é", "v": "v", "c": "c  ", "n": "n", "x": "X", "d": "d", "e": "wild", "b": true,
            "i2": -1, "i4": 2, "i8": i64::MAX, "f": 0.5, "nothing": null,
            "u": "6f1c4d7e-0d3a-4c58-9d5e-3a8f0b1c2d3e", "j": {"a": [1]}, "k": {"b": null},
            "ta": ["a", "b c", null], "empty": [], "ia": [1, 2], "ea": ["calm"],
        })
    );
}

#[tokio::test]
async fn mariadb_values_are_read_as_what_they_are() {
    let engine = OnMariaDb::with(&[]).await;
    engine
        .execute(
            "create table kinds (t text, v varchar(9) collate utf8mb4_bin, c char(3), \
             e enum('calm', 'wild'), b boolean, two tinyint(1), i int, u bigint unsigned, \
             f double, flag bit(1), d decimal(5,2), j json, nothing text); \
             insert into kinds values ('é', 'V', 'c', 'wild', true, 2, -1, 18446744073709551615, \
             0.5, b'1', 1.50, '[\"a\"]', null)",
        )
        .await;

    let found = row(&reader(&engine.url()), "select * from kinds").await;

    assert_eq!(
        found,
        json!({
            "t": "é", "v": "V", "c": "c", "e": "wild", "b": true, "two": 2, "i": -1, "u": u64::MAX,
            "f": 0.5, "flag": 1, "d": "1.50", "j": "[\"a\"]", "nothing": null,
        })
    );
}

#[tokio::test]
async fn sqlite_values_are_read_as_what_they_are() {
    let engine = OnSqlite::with(&[]).await;

    let query = "select 'é' t, -1 i, 0.5 f, null n, cast('text' as blob) b";
    let found = row(&reader(&engine.url()), query).await;

    assert_eq!(found, json!({"t": "é", "i": -1, "f": 0.5, "n": null, "b": "text"}));
}

#[tokio::test]
async fn a_type_that_is_not_read_is_an_error_only_where_it_is_wanted() {
    let (postgres, mariadb) = (OnPostgres::with(&[ALICE]).await, OnMariaDb::with(&[ALICE]).await);
    let sqlite = OnSqlite::with(&[ALICE]).await;
    for (url, column, kind) in [
        (postgres.url(), "since", "TIMESTAMPTZ"),
        (mariadb.url(), "since", "DATETIME"),
        (sqlite.url(), "picture", "BLOB"),
    ] {
        let (database, query) = (reader(&url), "select * from users");
        let expected = DatabaseError::Column { column: column.to_owned(), kind: kind.to_owned() };

        assert_eq!(database.rows(query, &[], 1).await.unwrap_err(), expected);
        assert_eq!(database.rows_of(&[column], query, &[], 1).await.unwrap_err(), expected);
        let rows = database.rows_of(&["NAME", "nowhere"], query, &[], 1).await.unwrap();
        assert_eq!(rows[0].text("name").as_deref(), Some("alice"));
        assert_eq!(rows[0].columns().count(), 1);
    }
}

#[tokio::test]
async fn a_column_that_is_there_twice_is_no_answer() {
    let engine = OnSqlite::with(&[ALICE]).await;

    let query = "select 1 id, 2 ID, 3 other, 4 other";
    let error = reader(&engine.url()).rows_of(&["id"], query, &[], 1).await.unwrap_err();

    assert!(matches!(error, DatabaseError::Twice { .. }), "{error}");
}

async fn cannot_write<E: Engine>(writes: &[&str]) {
    let engine = E::with(&[ALICE]).await;
    let database = reader(&engine.url());
    for query in writes {
        let error = database.rows(query, &[], 9).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Query { .. }), "{query}: {error}");
        let error = database.execute(query, &[]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Query { .. }), "{query}: {error}");
    }
    let rows = database.rows("select name from users", &[], 9).await.unwrap();
    assert_eq!(rows.len(), 1, "nothing was changed");
}

#[tokio::test]
async fn what_only_reads_cannot_write() {
    let delete = "delete from users";
    let with = "with gone as (delete from users returning name) select name from gone";
    cannot_write::<OnPostgres>(&[delete, with, "drop table users"]).await;
    cannot_write::<OnMariaDb>(&[delete, "delete from users returning name"]).await;
    cannot_write::<OnSqlite>(&[delete, "drop table users"]).await;
}

async fn changes_one_row<E: Engine>() {
    let engine = E::with(&[ALICE, BOB]).await;
    let database = open(&engine.url(), DatabaseOptions::default(), AccessMode::Write);
    let count = async |role: &str| {
        let query = format!("select name from users where email = '{role}'");
        database.rows(&query, &[], 9).await.unwrap().len()
    };
    let place = if E::query("").contains('?') { ["?", "?"] } else { ["$1", "$2"] };
    let [email, name] = place;
    let change = format!("update users set email = {email} where name = {name}");

    assert_eq!(database.execute(&change, &["new", "alice"]).await.unwrap(), 1);
    assert_eq!(database.execute(&change, &["new", "nobody"]).await.unwrap(), 0);
    assert_eq!(database.execute("update users set email = 'all'", &[]).await.unwrap(), 2);

    assert_eq!((count("new").await, count("all").await), (1, 0), "two rows are left alone");
}

#[tokio::test]
async fn a_statement_changes_one_row_or_none() {
    changes_one_row::<OnPostgres>().await;
    changes_one_row::<OnMariaDb>().await;
    changes_one_row::<OnSqlite>().await;
}

async fn bounds_rows<E: Engine>() {
    let engine = E::with(&[ALICE, BOB]).await;
    let database = reader(&engine.url());

    let error = database.rows("select name from users", &[], 1).await.unwrap_err();
    assert_eq!(error, DatabaseError::Rows { most: 1 });
    assert_eq!(database.rows("select name from users", &[], 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn more_rows_than_were_allowed_are_no_answer() {
    bounds_rows::<OnPostgres>().await;
    bounds_rows::<OnMariaDb>().await;
    bounds_rows::<OnSqlite>().await;
}

#[tokio::test]
async fn the_columns_of_a_query_are_known_without_running_it() {
    let (postgres, mariadb) = (OnPostgres::with(&[]).await, OnMariaDb::with(&[]).await);
    let sqlite = OnSqlite::with(&[]).await;
    for (url, place) in [(postgres.url(), "$1"), (mariadb.url(), "?"), (sqlite.url(), "$1")] {
        let query = format!("select name as a, password from users where name = {place}");
        assert_eq!(reader(&url).columns(&query).await.unwrap(), ["a", "password"]);
        let error = reader(&url).columns("select nme from users").await.unwrap_err();
        assert!(error.to_string().contains("nme"), "the operator sees what is wrong: {error}");
    }
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_ended_at_the_server_too() {
    let (postgres, mariadb) = (OnPostgres::with(&[]).await, OnMariaDb::with(&[]).await);
    for (url, slow, running) in [
        (
            postgres.url(),
            "select 1 from pg_sleep(60)",
            "select 1 from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() \
             and datname = current_database()",
        ),
        (
            mariadb.url(),
            "select sleep(60)",
            "select 1 from information_schema.processlist where db = database() and time_ms > 0 \
             and info like '%sleep%' and id <> connection_id()",
        ),
    ] {
        let database = quick(&url);
        let since = Instant::now();

        let error = database.rows(slow, &[], 1).await.unwrap_err();

        assert!(since.elapsed() < Duration::from_secs(5), "{error}");
        while !reader(&url).rows(running, &[], 9).await.unwrap().is_empty() {
            assert!(since.elapsed() < Duration::from_secs(20), "{slow} goes on");
        }
        assert_eq!(database.rows("select 1", &[], 1).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for scheme in ["postgres", "mysql"] {
        let database = quick(&format!("{scheme}://gateway@127.0.0.1:{port}/users"));

        let error = database.rows("select 1", &[], 1).await.unwrap_err();

        assert!(matches!(error, DatabaseError::Slow { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_found_later() {
    for (engine, scheme) in [("PostgreSQL", "postgres"), ("MySQL", "mysql")] {
        let (since, port) = (Instant::now(), crate::harness::process::free_port());
        let database = reader(&format!("{scheme}://gateway:hunter2@127.0.0.1:{port}/users"));

        let error = database.rows("select 1", &[], 1).await.unwrap_err().to_string();

        assert!(since.elapsed() < Duration::from_secs(2), "not waited for");
        let expected = format!("{engine} at 127.0.0.1:{port} cannot be reached: ");
        assert!(error.starts_with(&expected) && error.contains("refused"), "{error}");
    }
    let mut engine = OnPostgres::with(&[ALICE]).await;
    let database = reader(&engine.url());
    for _ in 0..3 {
        assert_eq!(database.rows("select name from users", &[], 1).await.unwrap().len(), 1);
        engine.stop().await;
        assert!(database.rows("select name from users", &[], 1).await.is_err());
        engine.bring_back().await;
    }
}

#[tokio::test]
async fn no_more_connections_are_open_than_were_allowed() {
    let engine = OnPostgres::with(&[]).await;
    let options = DatabaseOptions { parallel: 2, ..DatabaseOptions::default() };
    let database = open(&engine.url(), options, AccessMode::Read);
    let query = "select count(*) as n from pg_stat_activity, pg_sleep(0.05) \
                 where datname = current_database()";

    let asked = (0..12).map(|_| database.rows(query, &[], 1));

    let counts = futures_util::future::join_all(asked).await;
    let counts: Vec<i64> = counts
        .iter()
        .map(|rows| rows.as_ref().unwrap()[0].value("n").unwrap().as_i64().unwrap())
        .collect();
    assert!(counts.iter().all(|count| *count <= 2), "{counts:?}");
    assert!(counts.contains(&2), "and as many are used: {counts:?}");
}

#[tokio::test]
async fn no_message_quotes_what_was_bound() {
    let (postgres, mariadb) = (OnPostgres::with(&[]).await, OnMariaDb::with(&[]).await);
    for (url, query) in [
        (postgres.url(), "select $1::int"),
        (postgres.url(), "select $1::uuid"),
        (mariadb.url(), "select extractvalue('<a/>', ?)"),
        (mariadb.url(), "select json_value(?, '$.a'), 1 from nowhere"),
    ] {
        let error = reader(&url).rows(query, &["~hunter2"], 1).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{query}: {error}");
    }
}

#[tokio::test]
async fn tls_believes_the_configured_ca_and_only_for_the_servers_name() {
    let (postgres, mariadb) = (Postgres::shared().await, MariaDb::shared().await);
    let folder = tempfile::tempdir().unwrap();
    let other = Certificate::make(folder.path(), "other", &["localhost"]);
    let pem = |certificate: &Certificate| std::fs::read_to_string(&certificate.chain).unwrap();
    let in_postgres = "select ssl as tls from pg_stat_ssl where pid = pg_backend_pid()";
    let in_mariadb = "select variable_value <> '' as tls from information_schema.session_status \
                      where variable_name = 'Ssl_cipher'";
    for (url, certificate, query) in [
        (postgres.url("postgres"), &postgres.certificate, in_postgres),
        (mariadb.url("information_schema"), &mariadb.certificate, in_mariadb),
    ] {
        let with = |host: &str, ca: Option<String>| {
            let url = url.replace("127.0.0.1", host);
            open(&url, DatabaseOptions { ca, ..DatabaseOptions::default() }, AccessMode::Read)
        };

        let secure = row(&with("localhost", Some(pem(certificate))), query).await;
        let plain = row(&with("127.0.0.1", None), query).await;

        let is_set = |found: &Value| found["tls"] == json!(true) || found["tls"] == json!(1);
        assert!(is_set(&secure) && !is_set(&plain), "{secure} {plain}");
        for (host, ca) in [("localhost", pem(&other)), ("127.0.0.1", pem(certificate))] {
            let error = with(host, Some(ca)).rows(query, &[], 1).await.unwrap_err().to_string();
            assert!(error.contains("certificate"), "{host}: {error}");
        }
    }
}

#[tokio::test]
async fn a_password_is_not_sent_to_a_server_that_has_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        client.read_exact(&mut asked).await.unwrap();
        client.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        rest
    });
    let ca = Some(std::fs::read_to_string(&Postgres::shared().await.certificate.chain).unwrap());
    let url = format!("postgres://gateway:hunter2@localhost:{port}/users?sslmode=disable");
    let database =
        open(&url, DatabaseOptions { ca, ..DatabaseOptions::default() }, AccessMode::Read);

    let error = database.rows("select 1", &[], 1).await.unwrap_err();

    assert!(matches!(error, DatabaseError::Connect { .. }), "{error}");
    assert!(server.await.unwrap().is_empty(), "nothing follows the refusal");
}
