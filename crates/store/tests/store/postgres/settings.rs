//! Settings of servers, users and poolers: what must not matter, what is refused, and what an
//! inspection says.

use std::time::{Duration, Instant};

use tollhouse_store::shared::{
    Finding, News, PostgresDatabase, PostgresOptions, RecordKind, SharedDatabase, Verdict,
};

use super::server::{PgBouncer, Postgres, options};
use crate::shared_database::{
    TwoNodes, a_record_is_what_was_last_written, entry, follow, ids_and_values_are_any_bytes, key,
    load, of_many_writers_exactly_one_wins, record, set, value, write,
};

/// Two nodes as a user for whom the server has these settings.
async fn nodes_with(settings: &str) -> TwoNodes {
    let server = Postgres::shared().await;
    let options = options(&server.make_user(settings).await);
    allow_schema(server, &options).await;
    super::nodes(options).await
}

async fn allow_schema(server: &Postgres, options: &PostgresOptions) {
    let error = PostgresDatabase::open(options.clone()).await.unwrap_err();
    server.execute(super::server::remedy(&error)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_text_do_not_matter() {
    let settings = "standard_conforming_strings = off; bytea_output = escape; \
                    DateStyle = German; TimeZone = 'Asia/Kathmandu'; IntervalStyle = sql_standard; \
                    search_path = pg_catalog; extra_float_digits = -15";
    ids_and_values_are_any_bytes(nodes_with(settings).await).await;
    a_record_is_what_was_last_written(nodes_with(settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_transactions_are_repeated() {
    let settings = "default_transaction_isolation = serializable";
    of_many_writers_exactly_one_wins(nodes_with(settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_answers_no_step() {
    let server = Postgres::shared().await;
    let options = options(&server.make_user("").await);
    allow_schema(server, &options).await;
    let database = super::open(options.clone()).await;
    let key = key(RecordKind::Session, "a");
    let version = write(&*database, &key, None, "one").await;
    let mut follower = database.follow();
    database.publish(&[entry("a", "one")]).await.unwrap();
    let user = options.url.expose().split("//").nth(1).unwrap().split(':').next().unwrap();

    server.execute(&format!("ALTER ROLE {user} SET default_transaction_read_only = on")).await;
    // As a server that becomes a standby: its connections end.
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'");
    server.execute(&end).await;

    let read = database.read(&key).await;
    assert!(read.unwrap_err().to_string().contains("read-only"));
    assert!(database.swap(&key, Some(version), record("two")).await.is_err());
    assert!(follower.load(&mut |_| ()).await.unwrap_err().to_string().contains("read-only"));
    let finding = find(&database.inspect().await, "writing");
    assert_eq!(finding.verdict, Verdict::Bad, "{finding:?}");

    server.execute(&format!("ALTER ROLE {user} RESET default_transaction_read_only")).await;
    assert_eq!(value(&*database, &key).await.as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_swept_in_steps_of_a_bounded_size() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    server
        .execute(&format!(
            "INSERT INTO {schema}.codes SELECT decode(md5(n::text), 'hex'), n, '', \
             now() - interval '1 second' FROM generate_series(1, 1200) AS n"
        ))
        .await;
    let short = Some(Duration::from_millis(1));
    let ended = key(RecordKind::Session, "ended");
    let mut new = record("ended");
    new.keep = short;
    database.swap(&ended, None, new).await.unwrap();
    let group = tollhouse_core::secret::Digest::of(b"group");
    database.join(group, b"member", short).await.unwrap();
    let mut ended_entry = entry("a", "one");
    ended_entry.keep = short;
    database.publish(&[ended_entry]).await.unwrap();

    let codes = format!("SELECT count(*) FROM {schema}.codes");
    let mut left = vec![1200];
    loop {
        let has_more = database.sweep().await.unwrap();
        left.push(server.number(&codes).await);
        if !has_more {
            break;
        }
    }

    assert!(left.windows(2).all(|pair| pair[0] - pair[1] <= 500), "{left:?}");
    assert_eq!(left.last(), Some(&0));
    assert_eq!(value(&*database, &ended).await, None);
    assert_eq!(database.members(group).await.unwrap(), Vec::<Vec<u8>>::new());
    let entries = format!("SELECT count(*) FROM {schema}.revocations");
    assert_eq!(server.number(&entries).await, 0);
}

fn find(findings: &[Finding], what: &str) -> Finding {
    let found = findings.iter().find(|finding| finding.what == what);
    found.unwrap_or_else(|| panic!("{what} is not in {findings:?}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_says_what_is_good_and_what_is_not() {
    let server = Postgres::shared().await;
    let user = options(&server.make_user("synchronous_commit = off").await);
    let inspected = PostgresDatabase::for_inspection(&user).unwrap();
    let before = inspected.inspect().await;
    let tables = find(&before, "tables");
    assert_eq!(tables.verdict, Verdict::Bad, "{tables:?}");
    assert!(tables.text.contains("CREATE SCHEMA"), "{tables:?}");

    allow_schema(server, &user).await;
    assert_eq!(find(&inspected.inspect().await, "tables").verdict, Verdict::Good);
    super::open(user).await;
    let after = inspected.inspect().await;

    for what in ["server", "TLS", "writing", "tables", "rights", "clock", "notifications"] {
        let finding = find(&after, what);
        assert_eq!(finding.verdict, Verdict::Good, "{finding:?}");
    }
    assert!(find(&after, "notifications").text.contains("at once"));
    let durability = find(&after, "synchronous_commit");
    assert_eq!(durability.verdict, Verdict::Warning, "the test's server has no fsync");
    assert!(durability.text.contains("may count as never used"), "{durability:?}");

    let mut pooled = options(&PgBouncer::shared().await.url());
    pooled.schema = "nowhere".to_owned();
    let pooled = PostgresDatabase::for_inspection(&pooled).unwrap().inspect().await;
    let notifications = find(&pooled, "notifications");
    assert!(notifications.text.contains("do not arrive"), "{notifications:?}");
    assert_eq!(find(&pooled, "tables").verdict, Verdict::Good);

    let away = options("postgres://u:s3cret@127.0.0.1:1/d");
    let away = PostgresDatabase::for_inspection(&away).unwrap().inspect().await;
    let connection = find(&away, "connection");
    assert_eq!(connection.verdict, Verdict::Bad);
    assert!(!connection.text.contains("s3cret"), "{connection:?}");
}

/// A connection of a pooler that went on listening would deliver notifications in the middle of
/// other clients' answers.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_listens_through_a_pooler() {
    let server = Postgres::shared().await;
    // One pooler refuses the mark of a listener, the other one ignores it.
    for setting in ["", "ignore_startup_parameters = options"] {
        let pooler = PgBouncer::start(server, setting);
        let options = options(&pooler.url());
        let schema = options.schema.clone();
        let database = super::open(options).await;
        let mut follower = database.follow();
        load(&mut *follower).await;
        for number in 0..5 {
            let name = number.to_string();
            while follower.next().await.unwrap() != News::Entries(Vec::new()) {}
            database.publish(&[entry(&name, &name)]).await.unwrap();
            follow(&mut *follower, &set(&[&name])).await;
        }

        let listening =
            format!("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%{schema}%'");
        assert_eq!(server.number(&listening).await, 0);
        let log = pooler.log();
        assert!(!log.contains("when not linked"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_written_again_soon_leaves_its_indexes_alone() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    let key = key(RecordKind::Session, "a");
    let mut version = write(&*database, &key, None, "start").await;
    for number in 0..50 {
        version = write(&*database, &key, Some(version), &number.to_string()).await;
    }

    // The server counts with a delay.
    let count = |column: &str| {
        format!(
            "SELECT {column} FROM pg_stat_user_tables \
             WHERE schemaname = '{schema}' AND relname = 'sessions'"
        )
    };
    let since = Instant::now();
    while server.number(&count("n_tup_upd")).await < 50 {
        assert!(since.elapsed() < Duration::from_secs(60), "the updates are not counted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cheap = server.number(&count("n_tup_hot_upd")).await;
    assert!(cheap > 40, "{cheap} of 50 updates stayed within their page");
}
