//! Opening: tables are made once, and what stands in the way is said with its remedy.

use futures_util::future::join_all;
use tollhouse_store::shared::{PostgresDatabase, PostgresOptions, SharedOpenError, TlsPolicy};

use super::server::{PgBouncer, Postgres, execute, options, remedy};
use crate::shared_database::{TwoNodes, a_record_is_what_was_last_written};

async fn refused(options: PostgresOptions) -> SharedOpenError {
    let error = PostgresDatabase::open(options).await.unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_that_start_at_once_make_the_tables_once() {
    let server = Postgres::shared().await;
    for _ in 0..3 {
        let options = server.options();

        let opened = join_all((0..8).map(|_| PostgresDatabase::open(options.clone()))).await;

        for database in opened {
            database.unwrap();
        }
        let schema = &options.schema;
        let sql = format!("SELECT version FROM {schema}.schema_version WHERE one = 1");
        assert_eq!(server.number(&sql).await, 1);
        let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'");
        assert_eq!(server.number(&tables).await, 9, "six of records and three others");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_and_left_alone() {
    let server = Postgres::shared().await;
    let options = server.options();
    PostgresDatabase::open(options.clone()).await.unwrap();
    let schema = &options.schema;
    server.execute(&format!("UPDATE {schema}.schema_version SET version = 7")).await;

    let error = refused(options.clone()).await;

    assert!(matches!(error, SharedOpenError::Newer { found: 7, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("start the version of the program that made it"));
    let version = format!("SELECT version FROM {schema}.schema_version");
    assert_eq!(server.number(&version).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_make_no_schema_is_told_what_an_administrator_enters() {
    let server = Postgres::shared().await;
    let options = options(&server.make_user("").await);

    let error = refused(options.clone()).await;
    server.execute(remedy(&error)).await;

    let first = super::open(options.clone()).await;
    let second = super::open(options).await;
    a_record_is_what_was_last_written(TwoNodes { first, second }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_use_the_tables_is_told_what_an_administrator_enters() {
    let server = Postgres::shared().await;
    let mut options = server.options();
    super::open(options.clone()).await;
    options.url = server.make_user("").await.as_str().into();

    let error = refused(options.clone()).await;
    server.execute(remedy(&error)).await;
    super::open(options.clone()).await;

    let schema = &options.schema;
    let revoke = format!("REVOKE INSERT ON {schema}.sessions FROM PUBLIC, ");
    let user = remedy(&error).split(" TO ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    server.execute(&format!("{revoke} {user}")).await;
    let error = refused(options).await;
    assert!(error.to_string().contains("not all rights to sessions"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_of_a_connection_is_named() {
    let server = Postgres::shared().await;
    let url = server.make_user("").await;

    let error = refused(options(&url.replace("s3cret", "wr0ng"))).await;
    assert!(matches!(error, SharedOpenError::Credentials { .. }), "{error}");
    let error = refused(options(&url.replace("/postgres", "/nowhere"))).await;
    assert!(error.to_string().contains("database \"nowhere\" does not exist"), "{error}");
    assert!(!error.is_temporary(), "{error}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let error = refused(options(&format!("postgres://u:s3cret@127.0.0.1:{port}/d"))).await;
    assert!(matches!(error, SharedOpenError::Unreachable { .. }), "{error}");
    assert!(error.is_temporary() && error.to_string().contains(&port.to_string()), "{error}");
    let error = refused(options("postgres://u:s3cret@nowhere.invalid/d")).await;
    assert!(matches!(error, SharedOpenError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_where_it_is_demanded() {
    let server = Postgres::shared().await;
    let url = server.make_user("").await.replace("127.0.0.1", "localhost");
    let mut options = options(&url);
    options.tls = TlsPolicy::Demanded;

    options.ca = Some(server.certificate.clone());
    let error = refused(options.clone()).await;
    server.execute(remedy(&error)).await;
    super::open(options.clone()).await;
    let mut superuser = server.connect().await;
    execute(&mut superuser, "SELECT pg_stat_clear_snapshot()").await;

    // Another authority, another name, and a server without TLS.
    let other = Postgres::start();
    let mut stranger = options.clone();
    stranger.ca = Some(other.certificate.clone());
    let error = refused(stranger).await;
    assert!(matches!(error, SharedOpenError::Tls { .. }), "{error}");
    let mut misnamed = options.clone();
    misnamed.url = url.replace("localhost", "127.0.0.1").as_str().into();
    let error = refused(misnamed).await;
    assert!(matches!(error, SharedOpenError::Tls { .. }), "{error}");
    let mut plain = options;
    plain.url = PgBouncer::shared().await.url().as_str().into();
    let error = refused(plain).await;
    assert!(error.to_string().contains("server does not support TLS"), "{error}");
}
