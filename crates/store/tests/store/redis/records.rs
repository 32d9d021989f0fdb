use std::time::Duration;

use tollhouse_core::secret::Digest;
use tollhouse_store::shared::{NewRecord, RecordKey, RecordKind, SharedDatabase};

use super::server::RedisServer;
use crate::shared_database::{key, record, version, write};

const HOUR: Duration = Duration::from_secs(3600);

fn session(number: u16) -> RecordKey {
    let mut id = Digest::of(&number.to_be_bytes()).0.to_vec();
    id.truncate(16);
    RecordKey { kind: RecordKind::Session, id }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time that a key has left, in seconds.
fn seconds_left(server: &RedisServer, pattern: &str) -> u64 {
    let keys = server.cli(&["KEYS", pattern]);
    server.cli(&["TTL", &keys]).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_on_the_server_when_it_may() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let group = Digest::of(b"group");
    let session = key(RecordKind::Session, "a");
    let first = write(&database, &session, None, "one").await;
    assert!((3590..=3600).contains(&seconds_left(&server, "tollhouse:sessions:*")));

    // A later write has its own time, longer or shorter.
    let new = NewRecord { keep: Some(HOUR / 2), ..record("two") };
    let second = new.version;
    database.swap(&session, Some(first), new).await.unwrap();
    assert!((1790..=1800).contains(&seconds_left(&server, "tollhouse:sessions:*")));
    let new = NewRecord { keep: None, ..record("three") };
    database.swap(&session, Some(second), new).await.unwrap();
    assert_eq!(server.cli(&["TTL", &server.cli(&["KEYS", "tollhouse:sessions:*"])]), "-1");

    for keep in [HOUR, HOUR * 2, HOUR / 2] {
        database.join(group, b"member", Some(keep)).await.unwrap();
    }
    assert!((7190..=7200).contains(&seconds_left(&server, "tollhouse:groups:*")));
    // Times that no server takes count as for good.
    database.join(group, b"forever", Some(Duration::MAX)).await.unwrap();
    assert_eq!(server.cli(&["TTL", &server.cli(&["KEYS", "tollhouse:groups:*"])]), "-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_have_ended_are_left_out_and_removed() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let group = Digest::of(b"group");
    database.join(group, b"ended", Some(Duration::from_millis(1))).await.unwrap();
    database.join(group, b"lives", Some(HOUR)).await.unwrap();

    while database.members(group).await.unwrap().len() > 1 {}

    assert_eq!(database.members(group).await.unwrap(), [b"lives".to_vec()]);
    assert_eq!(server.cli(&["ZCARD", &server.cli(&["KEYS", "tollhouse:groups:*"])]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_skips_what_is_gone_and_still_fills_its_pages() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let (mut living, mut gone) = (Vec::new(), vec!["DEL".to_owned()]);
    for number in 0..600 {
        let session = session(number);
        write(&database, &session, None, &number.to_string()).await;
        if number % 7 == 0 {
            living.push(session.id);
        } else {
            gone.push(format!("tollhouse:sessions:{}", hex(&session.id)));
        }
    }
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    assert_eq!(server.cli(&gone), (gone.len() - 1).to_string());
    living.sort_unstable();

    for limit in [1, 10, 85, 86, 1000] {
        let mut found = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = database.walk(RecordKind::Session, after.as_deref(), limit).await.unwrap();
            found.extend(page.iter().map(|(id, _)| id.clone()));
            if page.len() < limit {
                break;
            }
            after = page.last().map(|(id, _)| id.clone());
        }
        assert_eq!(found, living, "pages of {limit}");
    }
    assert!(database.walk(RecordKind::Session, None, 0).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_ids_of_records_that_are_gone_and_no_others() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let mut expected = 0;
    for number in 0..300 {
        let keep = match number % 3 {
            // Gone before the sweep.
            0 => Some(Duration::from_millis(1)),
            1 => Some(HOUR),
            _ => None,
        };
        let new = NewRecord { keep, version: version(), value: b"x".to_vec() };
        database.swap(&session(number), None, new).await.unwrap();
        expected += usize::from(number % 3 != 0);
    }
    let count = |name: &str| -> usize {
        let keys = server.cli(&["KEYS", &format!("tollhouse:{name}:*")]);
        keys.lines().map(|key| server.cli(&["ZCARD", key]).parse::<usize>().unwrap()).sum()
    };
    assert_eq!((count("ids"), count("due")), (300, 300));
    database.sweep().await.unwrap();
    assert_eq!(count("ids"), 300, "nothing is due for an hour after its end");

    // As if some months had passed.
    for key in server.cli(&["KEYS", "tollhouse:due:*"]).lines() {
        let aged = "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do \
                    redis.call('ZADD', KEYS[1], 1000, id) end";
        server.cli(&["EVAL", aged, "1", key]);
    }
    while database.sweep().await.unwrap() {}

    assert_eq!((count("ids"), count("due")), (expected, expected));
    let walked = database.walk(RecordKind::Session, None, 1000).await.unwrap();
    assert_eq!(walked.len(), expected);
    database.sweep().await.unwrap();
    for key in server.cli(&["KEYS", "tollhouse:due:*"]).lines() {
        let overdue = server.cli(&["ZCOUNT", key, "-inf", "1000000"]);
        assert_eq!(overdue, "0", "what lives is due again later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_added_while_it_is_swept_stays() {
    const MANY: u16 = 2000;
    let server = RedisServer::forgetful();
    let database = server.database();
    // Ids of records that are gone, and that are all due.
    let mut words = vec!["EVAL".to_owned(), DUE.to_owned(), "0".to_owned()];
    words.extend((0..MANY).map(|number| hex(&session(number).id)));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(server.cli(&words), "OK");
    let sweeping = async { while database.sweep().await.unwrap() {} };
    let writing = async {
        for number in 0..MANY {
            // From both ends, so that the sweep meets them somewhere.
            let number = if number % 2 == 0 { number / 2 } else { MANY - 1 - number / 2 };
            write(&database, &session(number), None, "again").await;
        }
    };

    futures_util::future::join(sweeping, writing).await;
    while database.sweep().await.unwrap() {}

    let walked = database.walk(RecordKind::Session, None, usize::MAX).await.unwrap();
    assert_eq!(walked.len(), usize::from(MANY));
}

/// Lists ids as due since 1970.
const DUE: &str = "\
for _, id in ipairs(ARGV) do
  local bytes = string.gsub(id, '..', function(pair) return string.char(tonumber(pair, 16)) end)
  local bucket = '{sessions.' .. string.byte(bytes, -1) % 16 .. '}'
  redis.call('ZADD', 'tollhouse:ids:' .. bucket, 0, bytes)
  redis.call('ZADD', 'tollhouse:due:' .. bucket, 1000, bytes)
end
return redis.status_reply('OK')
";

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_begin_with_the_prefix() {
    let server = RedisServer::forgetful();
    let database = server.database();
    database.prepare().await.unwrap();
    for kind in RecordKind::ALL {
        write(&database, &key(kind, "a"), None, "one").await;
    }
    database.join(Digest::of(b"group"), b"member", None).await.unwrap();
    database.publish(&[crate::shared_database::entry("a", "one")]).await.unwrap();

    let keys = server.cli(&["KEYS", "*"]);

    assert!(keys.lines().count() > 10, "{keys}");
    assert!(keys.lines().all(|key| key.starts_with("tollhouse:")), "{keys}");
}
