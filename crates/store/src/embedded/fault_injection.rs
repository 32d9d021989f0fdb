//! Storage that fails on demand. Tests use it to show what the store does when a disk is full, a
//! sync fails, or a sync hangs. It is part of the library because integration tests cannot reach
//! private code; nothing but tests sets it.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// The failures to simulate; shared between a test and the store under test.
#[derive(Debug, Default)]
pub struct InjectedFaults {
    writes: AtomicBool,
    syncs: AtomicBool,
    paused: AtomicBool,
    synced: AtomicUsize,
}

impl InjectedFaults {
    /// Makes every write fail as on a full disk, or stops doing so.
    pub fn fail_writes(&self, fail: bool) {
        self.writes.store(fail, Ordering::SeqCst);
    }

    /// Makes every sync fail while writes succeed, or stops doing so. After such a failure nobody
    /// knows what is on the disk, and the store must read the file again.
    pub fn fail_syncs(&self, fail: bool) {
        self.syncs.store(fail, Ordering::SeqCst);
    }

    /// Makes every sync block until this is called with `false`.
    pub fn hold_syncs(&self, hold: bool) {
        self.paused.store(hold, Ordering::SeqCst);
    }

    /// Number of successful syncs.
    pub fn synced(&self) -> usize {
        self.synced.load(Ordering::SeqCst)
    }

    fn write(&self) -> io::Result<()> {
        if self.writes.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        while self.paused.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        if self.syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device did not answer"));
        }
        self.synced.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A file that fails in the way `InjectedFaults` says.
#[derive(Debug)]
pub(super) struct FaultyFile {
    file: FileBackend,
    faults: Arc<InjectedFaults>,
}

impl FaultyFile {
    pub(super) fn new(file: FileBackend, faults: Arc<InjectedFaults>) -> Self {
        Self { file, faults }
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.sync()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
