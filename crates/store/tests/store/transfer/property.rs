//! Random stores: an export, imported, is exported again as it was.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tollhouse_core::clock::Timestamp;
use tollhouse_store::KnownAccount;
use uuid::Uuid;

use super::*;

/// What one row is made of.
type Seed = [u8; 6];

/// Rows of a store that could be: no session is live and ended, no name is of two users.
fn rows(seeds: &[Seed]) -> Vec<ExportRow> {
    let mut rows = BTreeMap::new();
    let mut names = BTreeMap::new();
    for seed in seeds {
        let (key, row) = row(*seed, &mut names);
        rows.insert(key, row);
    }
    let birth = ExportRow::Birth { made: START.whole_secs(), secret: [9; 32], seen: START };
    std::iter::once(birth).chain(rows.into_values()).collect()
}

fn row(seed: Seed, names: &mut BTreeMap<(u8, u8), u8>) -> (String, ExportRow) {
    let [kind, id, one, two, three, four] = seed;
    let key = |name: &str| format!("{name} {id}");
    let until = after(u64::from(one) * 60 + 1);
    match kind % 8 {
        0 => (key("session"), ExportRow::Session(Box::new(live(id, [one, two, three, four])))),
        1 => (key("session"), ExportRow::EndedSession { id: session_id(id), until }),
        2 => (key("token"), ExportRow::RefusedToken { digest: token(&key("token")), until }),
        3 => (
            key("subject"),
            ExportRow::SubjectCutoff { subject: Subject::new(key("s")), at: until },
        ),
        4 => (key("name"), ExportRow::UsernameCutoff { name: key("ünï"), at: until }),
        5 | 6 => {
            let (source, name) = (two % 3, three % 4);
            // The first user who has a name keeps it.
            let owner = *names.entry((source, name)).or_insert(id);
            let account = KnownAccount {
                hash: (four % 2 == 0).then(|| "$argon2id$".to_owned()),
                imported: (four % 3 == 0).then_some(until),
                spelling: (four % 5 == 0).then(|| "Ann".to_owned()),
                ..account(&format!("source {source}"), &id.to_string(), &format!("name {name}"))
            };
            let key = format!("account {source} {id} {name}");
            let row = ExportRow::Account { account: Box::new(account), has_name: owner == id };
            (key, row)
        }
        _ => {
            let source = if two % 3 == 0 { String::new() } else { format!("source {}", two % 3) };
            let row = ExportRow::SecondStep {
                source: source.clone(),
                id: UserId::new(id.to_string()),
                secret: vec![three; usize::from(four)],
                made: START,
                used: u64::from(one),
            };
            (format!("step {source} {id}"), row)
        }
    }
}

fn session_id(id: u8) -> SessionId {
    SessionId(Uuid::from_bytes([id; 16]))
}

fn live(id: u8, [one, two, three, four]: [u8; 4]) -> Session {
    let mut session = session(&format!("user {}", one % 5), after(u64::from(two)));
    session.id = session_id(id);
    session.traded = (three % 3 == 0).then(|| token("foreign"));
    session.idle = (three % 4 == 0).then(|| Duration::from_secs(u64::from(four) * 60));
    if let Some(refresh) = &mut session.refresh {
        refresh.number = u32::from(four);
        refresh.is_named = four % 2 == 0;
        refresh.retired = (four % 3 == 0).then(|| (token("retired"), START));
    }
    if one % 7 == 0 {
        session.refresh = None;
        session.key_hash = None;
        session.address = None;
        session.agent = None;
        session.email = Some("ann@example.com".to_owned());
    }
    session
}

/// Accounts are one for each user and source: of several, the last one counts.
fn without_twins(rows: Vec<ExportRow>) -> Vec<ExportRow> {
    let mut users = BTreeMap::new();
    let mut others = Vec::new();
    for row in rows {
        match &row {
            ExportRow::Account { account, .. } => {
                users.insert((account.source.clone(), account.subject.clone()), row);
            }
            _ => others.push(row),
        }
    }
    others.into_iter().chain(users.into_values()).collect()
}

/// Random stores go through each kind to each kind.
async fn come_back_as_they_were(seeds: &[Seed]) {
    let rows = without_twins(rows(seeds));
    for make_source in KINDS {
        let source = make_source();
        source.import(rows.clone()).await.unwrap();
        let exported = source.export().await;
        assert_eq!(texts(&exported), texts(&sorted(rows.clone())));
        for make_target in KINDS {
            let target = make_target();
            target.import(birth_first(exported.clone())).await.unwrap();
            assert_eq!(texts(&target.export().await), texts(&exported));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_store_comes_back_as_it_was(
        seeds in proptest::collection::vec(any::<Seed>(), 0..80)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(come_back_as_they_were(&seeds));
    }
}

/// Rows are what later versions must be able to read.
#[test]
fn the_names_of_rows_never_change() {
    let names = |row: &ExportRow| {
        let value: serde_json::Value = serde_json::to_value(row).unwrap();
        let (kind, fields) = value.as_object().unwrap().iter().next().unwrap();
        let fields = fields.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        format!("{kind}: {}", fields.join(" "))
    };
    let at = Timestamp::from_secs(1);
    let rows = [
        ExportRow::Birth { made: at, secret: [0; 32], seen: at },
        ExportRow::EndedSession { id: session_id(1), until: at },
        ExportRow::RefusedToken { digest: token("t"), until: at },
        ExportRow::SubjectCutoff { subject: Subject::new("s"), at },
        ExportRow::UsernameCutoff { name: "n".to_owned(), at },
        ExportRow::Account { account: Box::new(account("s", "1", "n")), has_name: true },
        ExportRow::SecondStep {
            source: "s".to_owned(),
            id: UserId::new("1"),
            secret: vec![1],
            made: at,
            used: 1,
        },
        ExportRow::SigningKeys { document: serde_json::json!({}) },
    ];

    assert_eq!(
        rows.each_ref().map(names),
        [
            "birth: made secret seen",
            "ended_session: id until",
            "refused_token: digest until",
            "subject_cutoff: subject at",
            "username_cutoff: name at",
            "account: account has_name",
            "second_step: source id secret made used",
            "signing_keys: document",
        ]
    );
    let session = names(&ExportRow::Session(Box::new(live(1, [1; 4]))));
    assert!(session.starts_with("session: id subject realm username"), "{session}");
}
