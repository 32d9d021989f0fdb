//! The sealed file of an export: what it hides, and what is noticed about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tollhouse_store::shared::{SEAL_LEN, SIGNING_KEYS, Seal};
use tollhouse_store::transfer::{
    ExportFileError, ExportKey, ExportReader, ExportWriter, ImportTarget, export_file, import_file,
};

use super::*;

fn seal(byte: u8) -> Seal {
    Seal::new(&Secret::new([byte; SEAL_LEN]))
}

fn target(place: &Place) -> ImportTarget {
    match place {
        Place::Embedded(dir) => ImportTarget::Embedded(options(dir.path())),
        Place::Shared(database) => {
            ImportTarget::Shared { database: database.clone(), options: Box::new(shared_options()) }
        }
    }
}

/// A file with `number` sessions.
fn written(number: usize) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("export");
    let mut writer = ExportWriter::create(&path, &ExportKey::new(&seal(1)), "embedded", START);
    let writer_ref = writer.as_mut().unwrap();
    let birth = ExportRow::Birth { made: START, secret: [9; 32], seen: START };
    writer_ref.write(&birth).unwrap();
    for nth in 0..number {
        let session = session(&format!("user {nth}"), START);
        writer_ref.write(&ExportRow::Session(Box::new(session))).unwrap();
    }
    assert_eq!(writer.unwrap().finish().unwrap().sessions, number as u64);
    (dir, path)
}

/// Number of rows in a file, or why it is refused.
fn read(path: &Path, seal: &Seal) -> Result<usize, ExportFileError> {
    let mut reader = ExportReader::open(path, seal)?;
    let mut number = 0;
    while let Some(rows) = reader.next_rows()? {
        number += rows.len();
    }
    Ok(number)
}

#[tokio::test]
async fn a_store_moves_through_a_file() {
    for make_source in KINDS {
        for make_target in KINDS {
            let (source, target_place) = (make_source(), make_target());
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("export");
            let store = source.open().await;
            let content = filled(&*store.as_store()).await;

            let key = ExportKey::new(&seal(1));
            let keys = Some(serde_json::json!({ "keys": { "a.pem": "a key" } }));
            let exporting = export_file(&store, &path, &key, "embedded", keys.clone(), START);
            let written = exporting.await.unwrap();
            store.as_store().close().await;
            let read = import_file(target(&target_place), &path, &seal(1)).await.unwrap();
            let header = read.header;

            assert_eq!((written, &read.signing_keys), (read.counts, &keys));
            assert_eq!(
                written.to_string(),
                "2 sessions, 1 ended session, 1 refused token, 2 cut-offs, 2 known users, \
                 1 second step, 1 set of signing keys"
            );
            assert_eq!((header.created, header.source.as_str()), (START, "embedded"));
            let store = target_place.open().await;
            is_as_before(&*store.as_store(), &content).await;
            if let OpenedStore::Shared(shared) = &store {
                assert_eq!(shared.document(SIGNING_KEYS).await.unwrap(), keys);
            }
            store.as_store().close().await;
        }
    }
}

#[test]
fn a_file_is_its_owners_and_shows_nothing() {
    let (dir, path) = written(50);

    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"tollhouse store export\n"));
    for word in ["user 1", "session", "admin", "birth"] {
        let shown = bytes.windows(word.len()).any(|part| part == word.as_bytes());
        assert!(!shown, "{word}");
    }
}

#[test]
fn a_file_that_exists_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("export");
    fs::write(&path, "mine").unwrap();

    let refused = ExportWriter::create(&path, &ExportKey::new(&seal(1)), "embedded", START);

    assert!(matches!(refused, Err(ExportFileError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn an_export_that_ends_early_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("export");
    let mut writer =
        ExportWriter::create(&path, &ExportKey::new(&seal(1)), "embedded", START).unwrap();
    let row = ExportRow::Session(Box::new(session("ann", START)));
    writer.write(&row).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the draft");

    drop(writer);

    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn another_key_is_named_as_the_reason() {
    let (_dir, path) = written(5);

    assert_eq!(read(&path, &seal(1)).unwrap(), 6);
    let refused = read(&path, &seal(2)).unwrap_err();
    assert!(matches!(refused, ExportFileError::OtherKey { .. }), "{refused}");
    assert!(refused.to_string().contains("--seal"), "{refused}");
}

#[test]
fn a_file_that_was_cut_is_noticed_wherever_it_was_cut() {
    let (_dir, path) = written(300);
    let bytes = fs::read(&path).unwrap();
    let ends = (0..400).chain((400..bytes.len()).step_by(97)).chain(bytes.len() - 200..bytes.len());
    for end in ends {
        fs::write(&path, &bytes[..end]).unwrap();

        let refused = read(&path, &seal(1)).unwrap_err();

        let is_cut = matches!(refused, ExportFileError::Cut { .. });
        assert!(is_cut || end < 24, "{end}: {refused}");
    }
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let (_dir, path) = written(300);
    let bytes = fs::read(&path).unwrap();
    for place in (0..400).chain((400..bytes.len()).step_by(211)) {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        fs::write(&path, &changed).unwrap();

        assert!(read(&path, &seal(1)).is_err(), "{place}");
    }
    fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
    let refused = read(&path, &seal(1)).unwrap_err();
    assert!(matches!(refused, ExportFileError::Changed { .. }), "more at its end: {refused}");
}

/// The head of a file, and its parts.
fn parts(bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let head = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    let mut parts = Vec::new();
    let mut rest = &bytes[head..];
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize + 5;
        parts.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    (bytes[..head].to_vec(), parts)
}

#[test]
fn parts_that_were_moved_left_out_or_taken_from_another_file_are_noticed() {
    let (_dir, path) = written(300);
    let (_other_dir, other) = written(300);
    let (head, own) = parts(&fs::read(&path).unwrap());
    let (_, theirs) = parts(&fs::read(&other).unwrap());
    assert!(own.len() > 3, "{}", own.len());
    let last = own.len() - 1;
    let swapped = [&own[1..2], &own[..1], &own[2..]].concat();
    let repeated = [&own[..1], &own[..]].concat();
    let left_out = [&own[..1], &own[2..]].concat();
    let foreign = [&own[..1], &theirs[1..2], &own[2..]].concat();
    let early_end = [&own[..1], &own[last..]].concat();
    let twice_ended = [&own[..], &own[last..]].concat();
    let mut renamed = own.clone();
    renamed[0][0] = 1;
    let changes =
        [swapped, repeated, left_out, foreign, early_end, twice_ended, vec![renamed[0].clone()]];
    for (nth, change) in changes.into_iter().enumerate() {
        fs::write(&path, [head.clone(), change.concat()].concat()).unwrap();

        let refused = read(&path, &seal(1)).unwrap_err();

        assert!(matches!(refused, ExportFileError::Changed { .. }), "{nth}: {refused}");
    }
    fs::write(&path, [head, own.concat()].concat()).unwrap();
    assert_eq!(read(&path, &seal(1)).unwrap(), 301);
}

#[test]
fn other_files_and_later_versions_are_refused_as_such() {
    let (_dir, path) = written(1);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, "something else entirely").unwrap();
    assert!(matches!(read(&path, &seal(1)), Err(ExportFileError::NoExport { .. })));
    fs::write(&path, "").unwrap();
    assert!(matches!(read(&path, &seal(1)), Err(ExportFileError::NoExport { .. })));

    let (head, parts) = parts(&bytes);
    let later = String::from_utf8(head).unwrap().replace("\"format\":2", "\"format\":3");
    fs::write(&path, [later.into_bytes(), parts.concat()].concat()).unwrap();
    let refused = read(&path, &seal(1)).unwrap_err();
    assert!(matches!(refused, ExportFileError::Newer { found: 3, .. }), "{refused}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_before_anything_is_written() {
    for make in KINDS {
        let (_dir, path) = written(300);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let place = make();

        let refused = import_file(target(&place), &path, &seal(1)).await.unwrap_err();

        assert!(matches!(refused, TransferError::File(ExportFileError::Cut { .. })), "{refused}");
        fs::write(&path, &bytes).unwrap();
        let other = import_file(target(&place), &path, &seal(2)).await.unwrap_err();
        assert!(matches!(other, TransferError::File(ExportFileError::OtherKey { .. })), "{other}");
        import_file(target(&place), &path, &seal(1)).await.unwrap();
    }
}

#[test]
fn the_key_of_a_file_is_passed_on_as_bytes() {
    let key = ExportKey::new(&seal(1));
    let bytes = key.to_bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("export");

    let passed = ExportKey::from_bytes(bytes.expose()).unwrap();
    let writer = ExportWriter::create(&path, &passed, "embedded", START).unwrap();
    writer.finish().unwrap();

    assert_eq!(read(&path, &seal(1)).unwrap(), 0);
    assert!(ExportKey::from_bytes(&bytes.expose()[1..]).is_none());
    assert_eq!(format!("{key:?}"), "ExportKey(***)");
}
