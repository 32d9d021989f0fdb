//! Where whole lines go: a buffer in memory and one thread that writes it out.
//!
//! `write` only copies the line under a lock, so a slow disk or a stopped pipe never holds a
//! request. When the buffer is full the line is dropped and counted: losing a line is better
//! than losing the gateway. A captured sink keeps its lines in memory for tests.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::LogTarget;

/// At most this much waits for the writer: seconds of lines, and a bound on memory.
const CAPACITY: usize = 1024 * 1024;
/// The writer is woken once this much waits.
const FLUSH_AT: usize = 64 * 1024;
/// The longest that a line waits.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// A stream of lines; clones share it.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Shared>);

/// What a captured sink was given.
#[derive(Clone, Debug)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Everything written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

#[derive(Debug)]
enum Shared {
    Captured(Arc<Mutex<Vec<u8>>>),
    Threaded { queue: Arc<Queue>, writer: Mutex<Option<JoinHandle<()>>> },
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread holds the queue and not this, so it ends with the last handle.
        self.close();
    }
}

impl Shared {
    fn close(&self) {
        let Self::Threaded { queue, writer } = self else { return };
        lock(&queue.waiting).closing = true;
        queue.wake.notify_all();
        let writer = lock(writer).take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing left to flush.
            let _ = writer.join();
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// Lines are not even queued.
    is_off: AtomicBool,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many lines `lines` holds, to count them when they cannot be written.
    count: u64,
    reopen: bool,
    /// Outputs that take over, each with the number of bytes of `lines` that come before it.
    switches: Vec<(usize, LogOutput)>,
    closing: bool,
}

impl Sink {
    /// Opens `target` and starts its writer.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        let output = LogOutput::open(target)?;
        let queue = Arc::new(Queue::default());
        queue.is_off.store(output.is_off(), Ordering::Relaxed);
        let of_writer = Arc::clone(&queue);
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || of_writer.write_out(output))?;
        Ok(Self(Arc::new(Shared::Threaded { queue, writer: Mutex::new(Some(writer)) })))
    }

    /// A sink in memory, and what it is given.
    pub fn captured() -> (Self, Captured) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        (Self(Arc::new(Shared::Captured(Arc::clone(&lines)))), Captured(lines))
    }

    /// Takes a whole line with its newline; never waits for I/O.
    pub fn write(&self, line: &[u8]) {
        match &*self.0 {
            Shared::Captured(lines) => lock(lines).extend_from_slice(line),
            Shared::Threaded { queue, .. } => queue.push(line),
        }
    }

    /// Writes to `output` from now on; lines that were taken before go to the output of before.
    pub fn switch(&self, output: LogOutput) {
        if let Shared::Threaded { queue, .. } = &*self.0 {
            let mut waiting = lock(&queue.waiting);
            queue.is_off.store(output.is_off(), Ordering::Relaxed);
            let before = waiting.lines.len();
            waiting.switches.push((before, output));
            drop(waiting);
            queue.wake.notify_all();
        }
    }

    /// Opens the file again by its name before the next write, for log rotation.
    pub fn reopen(&self) {
        if let Shared::Threaded { queue, .. } = &*self.0 {
            lock(&queue.waiting).reopen = true;
            queue.wake.notify_all();
        }
    }

    /// Writes what waits and ends the writer; later lines are dropped and counted.
    pub fn close(&self) {
        self.0.close();
    }

    /// How many lines were lost, for want of room or because they could not be written.
    pub fn dropped(&self) -> u64 {
        match &*self.0 {
            Shared::Threaded { queue, .. } => queue.dropped.load(Ordering::Relaxed),
            Shared::Captured(_) => 0,
        }
    }
}

impl Queue {
    fn push(&self, line: &[u8]) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = lock(&self.waiting);
        let before = waiting.lines.len();
        if waiting.closing || before.saturating_add(line.len()) > CAPACITY {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
        let crossed = before < FLUSH_AT && waiting.lines.len() >= FLUSH_AT;
        drop(waiting);
        if crossed {
            self.wake.notify_one();
        }
    }

    fn write_out(&self, mut output: LogOutput) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = lock(&self.waiting);
            if !waiting.due() {
                let waited = self.wake.wait_timeout_while(waiting, FLUSH_EVERY, |w| !w.due());
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut waiting.lines);
            let count = std::mem::take(&mut waiting.count);
            let reopen = std::mem::take(&mut waiting.reopen);
            let switches = std::mem::take(&mut waiting.switches);
            let closing = waiting.closing;
            drop(waiting);

            let mut rest = batch.as_slice();
            let mut written = Ok(());
            for (end, next) in switches {
                let start = batch.len() - rest.len();
                let (before, after) = rest.split_at(end.saturating_sub(start).min(rest.len()));
                written = written.and(output.write(before));
                (rest, output) = (after, next);
            }
            // Lines that came before a rotation belong to the old file.
            let written = written.and(output.write(rest));
            if let Err(error) = written {
                self.dropped.fetch_add(count, Ordering::Relaxed);
                tracing::warn!(%error, "log lines could not be written");
            }
            if reopen && let Err(error) = output.reopen() {
                tracing::warn!(%error, "the log file could not be opened again");
            }
            if closing {
                return;
            }
        }
    }
}

impl Waiting {
    fn due(&self) -> bool {
        self.closing || self.reopen || !self.switches.is_empty() || self.lines.len() >= FLUSH_AT
    }
}

/// A place that lines are written to, opened.
#[derive(Debug)]
pub struct LogOutput(Output);

#[derive(Debug)]
enum Output {
    Off,
    Stdout,
    Stderr,
    File { file: File, path: Box<Path> },
}

impl LogOutput {
    /// Opens `target`; a file is made where there is none.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(Self(match target {
            LogTarget::Off => Output::Off,
            LogTarget::Stdout => Output::Stdout,
            LogTarget::Stderr => Output::Stderr,
            LogTarget::File(path) => {
                Output::File { file: append_to(path)?, path: path.as_path().into() }
            }
        }))
    }

    fn is_off(&self) -> bool {
        matches!(self.0, Output::Off)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.0 {
            Output::Off => Ok(()),
            Output::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Output::Stderr => io::stderr().lock().write_all(bytes),
            Output::File { file, .. } => file.write_all(bytes),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Output::File { file, path } = &mut self.0 {
            *file = append_to(path)?;
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole lines are added under the lock, so what a panic leaves behind is sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_capacity_are_dropped_and_counted() {
        let queue = Queue::default();
        let line = vec![b'x'; CAPACITY / 4];

        for _ in 0..6 {
            queue.push(&line);
        }

        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(lock(&queue.waiting).lines.len(), CAPACITY);
    }

    #[test]
    fn closing_writes_everything_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let sink = Sink::open(&LogTarget::File(path.clone())).unwrap();

        sink.write(b"one\n");
        sink.write(b"two\n");
        sink.close();
        sink.write(b"late\n");

        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
        assert_eq!(sink.dropped(), 1, "a line after the end is lost and counted");
    }

    #[test]
    fn a_switched_sink_leaves_earlier_lines_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let output = |name: &str| LogOutput::open(&LogTarget::File(path(name))).unwrap();
        let sink = Sink::open(&LogTarget::File(path("first"))).unwrap();

        sink.write(b"one\n");
        sink.switch(output("second"));
        sink.write(b"two\n");
        sink.switch(LogOutput::open(&LogTarget::Off).unwrap());
        sink.write(b"lost\n");
        sink.close();

        assert_eq!(std::fs::read_to_string(path("first")).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(path("second")).unwrap(), "two\n");
        assert_eq!(sink.dropped(), 0, "a log that is off loses nothing");
    }

    #[test]
    fn a_captured_line_is_there_at_once() {
        let (sink, captured) = Sink::captured();

        sink.write(b"line\n");

        assert_eq!(captured.text(), "line\n");
    }
}
