//! Puts changed files into effect without a command (`[reload] watch`).
//!
//! The configuration's file, and every file that it names, is looked at every two seconds: first its
//! metadata, and where these differ its contents, by their digest. Links are followed in each look,
//! so a folder that Kubernetes swaps behind `..data` is a change of all files below it at once. A
//! change is reloaded when two looks in a row have seen the same: a file that is half written changes
//! on. Contents that were reloaded, or refused, are not tried again.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::admin::AdminOperations;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::gateway::ReloadError;
use crate::secret::Digest;

/// How often the files are looked at. A change takes effect after one to two further looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The metadata of a file that was changed so recently say nothing: it may be changed again within
/// the resolution of its times.
const RECENT: Duration = Duration::from_secs(10);
/// Upper bound on the bytes of a file of which a digest is made; beyond it, the metadata count.
const LARGEST: u64 = 64 << 20;
/// Upper bound on the files of a folder.
const MOST_ENTRIES: usize = 1000;
/// The number of changed files that the log names.
const NAMED: usize = 5;

/// The files of a gateway as they were seen.
#[derive(Debug)]
pub(super) struct FileWatch(Mutex<WatchState>);

#[derive(Debug)]
struct WatchState {
    /// When the files were read that are in effect.
    since: Timestamp,
    /// The names of the files, and the contents of the configuration that they are from.
    named: (Option<Digest>, Vec<PathBuf>),
    known: BTreeMap<PathBuf, SeenFile>,
    /// The contents that are in effect, or were refused. `None` before the first look.
    tried: Option<BTreeMap<PathBuf, FileContents>>,
    /// The contents of the last look, if they were not tried yet.
    candidate: Option<BTreeMap<PathBuf, FileContents>>,
}

/// A file as it was seen last, so that its contents need not be read again.
#[derive(Clone, Debug)]
struct SeenFile {
    stamp: FileStamp,
    contents: FileContents,
}

/// The metadata by which a changed file is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    identity: (u64, u64),
    length: u64,
    times: [i64; 4],
}

impl FileStamp {
    fn of(found: &Metadata) -> Self {
        Self {
            identity: (found.dev(), found.ino()),
            length: found.len(),
            times: [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()],
        }
    }
}

/// The contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileContents {
    /// There is none, or it cannot be read.
    Missing,
    Read(Digest),
    /// Changed at a time when nobody looked; it differs from everything.
    Unknown,
}

impl FileWatch {
    /// A watch of a gateway whose configuration has just been read.
    pub(super) fn new() -> Self {
        Self(Mutex::new(WatchState {
            since: Clock::system().now(),
            named: (None, Vec::new()),
            known: BTreeMap::new(),
            tried: None,
            candidate: None,
        }))
    }

    /// One look at all files. Reloads if a change has settled; true if it did, however the reload
    /// ended. Blocks on the disk.
    pub(super) fn look(&self, operations: &Arc<AdminOperations>) -> bool {
        let mut state = self.0.lock();
        let generation = operations.gateway.generation();
        let Some(source) = operations.source.filter(|_| generation.config.reload.watch) else {
            state.forget();
            return false;
        };
        let path = &generation.config.path;
        let seen = state.see(path);
        let Some(changed) = state.settle(&seen) else { return false };
        tracing::info!(files = changed, "files have changed: reloading");
        // The configuration that is read now may be newer than what was seen; then the next look
        // sees it, and it is tried as well.
        if let Err(ReloadError::Frozen) = operations.reload(|| source(path)) {
            state.tried = None;
            state.candidate = Some(seen);
            return false;
        }
        state.tried = Some(seen);
        true
    }
}

impl WatchState {
    /// Nothing is watched. What is read from now on is in effect when watching begins.
    fn forget(&mut self) {
        self.since = Clock::system().now();
        self.tried = None;
        self.candidate = None;
    }

    /// The contents of all files, now.
    fn see(&mut self, config: &Path) -> BTreeMap<PathBuf, FileContents> {
        let mut seen = BTreeMap::new();
        let text = self.contents(config);
        let FileContents::Read(digest) = text else {
            seen.insert(config.to_owned(), text);
            return seen;
        };
        if self.named.0 != Some(digest) {
            // A text that is no TOML yet names the files that it named before.
            let files = config::named_files(config).unwrap_or_else(|| self.named.1.clone());
            self.named = (Some(digest), files);
        }
        seen.insert(config.to_owned(), text);
        for path in self.named.1.clone() {
            for path in std::iter::once(path.clone()).chain(entries(&path)) {
                let contents = self.contents(&path);
                seen.insert(path, contents);
            }
        }
        self.known.retain(|path, _| seen.contains_key(path));
        seen
    }

    /// The contents of one file. They are read if the file may have changed since it was read.
    fn contents(&mut self, path: &Path) -> FileContents {
        // Only files: a pipe would never end, and the files of a folder are looked at by themselves.
        let Some(found) = fs::metadata(path).ok().filter(Metadata::is_file) else {
            self.known.remove(path);
            return FileContents::Missing;
        };
        let stamp = FileStamp::of(&found);
        let is_recent = changed_at(&found) >= Clock::system().now().minus(RECENT);
        if let Some(known) = self.known.get(path)
            && known.stamp == stamp
            && !is_recent
        {
            return known.contents;
        }
        let contents = read(path, &stamp);
        self.known.insert(path.to_owned(), SeenFile { stamp, contents });
        contents
    }

    /// The names of the changed files, if what was seen differs from what was tried and the last look
    /// has seen the same.
    fn settle(&mut self, seen: &BTreeMap<PathBuf, FileContents>) -> Option<String> {
        let since = self.since.minus(RECENT);
        let tried = self.tried.get_or_insert_with(|| {
            // Files that were changed while the gateway started may have been read before or after.
            let in_effect = |(path, contents): (&PathBuf, &FileContents)| {
                let found = fs::metadata(path);
                let is_sure = found.is_ok_and(|found| changed_at(&found) < since);
                let is_missing = *contents == FileContents::Missing;
                let contents =
                    if is_sure || is_missing { *contents } else { FileContents::Unknown };
                (path.clone(), contents)
            };
            seen.iter().map(in_effect).collect()
        });
        let is_new =
            |(path, contents): &(&PathBuf, &FileContents)| tried.get(*path) != Some(*contents);
        let new = seen.iter().filter(is_new).map(|(path, _)| path);
        let gone = tried.keys().filter(|path| !seen.contains_key(*path));
        let changed: Vec<&PathBuf> = new.chain(gone).collect();
        if changed.is_empty() {
            self.candidate = None;
            return None;
        }
        if self.candidate.as_ref() != Some(seen) {
            self.candidate = Some(seen.clone());
            return None;
        }
        self.candidate = None;
        let names: Vec<String> =
            changed.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        Some(names.join(", "))
    }
}

/// The files of a folder, in no order; none if it is no folder.
fn entries(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).take(MOST_ENTRIES)
}

/// When the file was changed last, its contents or anything else of it.
fn changed_at(found: &Metadata) -> Timestamp {
    Timestamp::from_secs(u64::try_from(found.ctime()).unwrap_or_default())
}

fn read(path: &Path, stamp: &FileStamp) -> FileContents {
    let Ok(file) = File::open(path) else { return FileContents::Missing };
    if stamp.length > LARGEST {
        return FileContents::Read(Digest::of(format!("{stamp:?}").as_bytes()));
    }
    let mut bytes = Vec::new();
    match file.take(LARGEST).read_to_end(&mut bytes) {
        Ok(_) => FileContents::Read(Digest::of(&bytes)),
        Err(_) => FileContents::Missing,
    }
}
