//! The destination of whole lines: a buffer in memory, and one thread that writes it out.
//!
//! `write` only copies the line under a lock, so a slow disk or a stopped pipe never holds up a
//! request. If the buffer is full, the line is dropped and counted: losing a line is better than
//! losing the gateway. A captured sink keeps its lines in memory for tests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::settings::LogTarget;

/// Upper bound on bytes that wait for the writer. It holds some seconds of lines.
const CAPACITY: usize = 1024 * 1024;
/// The writer is woken when this many bytes wait. Waking it for each line would cost every request
/// a system call. Fewer bytes wait for the next period.
const FLUSH_AT: usize = 64 * 1024;
/// The longest time for which a line waits.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// The permission bit by which a folder's group lists its files.
const LISTED_BY_GROUP: u32 = 0o040;

/// A stream of lines. Clones share it; the writer ends with the last clone. Each of the two logs
/// has a sink of its own, even if both go to the same place. Lines of one sink are never mixed
/// within a line.
#[derive(Clone, Debug)]
pub struct LineWriter(Arc<WriterState>);

/// The lines that a captured sink was given.
#[derive(Clone, Debug)]
pub struct CapturedLines(Arc<Mutex<Vec<u8>>>);

impl CapturedLines {
    /// Everything that was written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

#[derive(Debug)]
enum WriterState {
    Captured(Arc<Mutex<Vec<u8>>>),
    Threaded { queue: Arc<LineQueue>, writer: Mutex<Option<JoinHandle<()>>> },
}

impl Drop for WriterState {
    fn drop(&mut self) {
        // The thread holds the queue and not this value. If it held this value, it would keep
        // itself alive and never end.
        self.close();
    }
}

impl WriterState {
    /// Ends the writer, after it has written everything that waits. Calling it again has no effect.
    fn close(&self) {
        let Self::Threaded { queue, writer } = self else { return };
        queue.waiting.lock().closing = true;
        queue.wake.notify_all();
        // The handle is taken out under its lock. If two callers close the sink at once, only one
        // of them waits for the thread; the other finds nothing to wait for.
        let writer = writer.lock().take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

#[derive(Debug, Default)]
struct LineQueue {
    /// Lines are not even queued.
    is_off: AtomicBool,
    waiting: Mutex<WaitingLines>,
    wake: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct WaitingLines {
    lines: Vec<u8>,
    /// The number of lines in `lines`, to count them if they cannot be written.
    count: u64,
    reopen: bool,
    /// Outputs that take over, each with the number of bytes in `lines` that still belong to the
    /// output before it.
    switches: Vec<(usize, LogOutput)>,
    closing: bool,
}

impl LineWriter {
    /// Opens `target` and starts its writer. The error is of opening the file or of starting the
    /// thread. Nothing of the gateway waits for this thread except `close`. The thread is named
    /// `log-writer`.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        let output = LogOutput::open(target)?;
        let queue = Arc::new(LineQueue::default());
        queue.is_off.store(output.is_off(), Ordering::Relaxed);
        let of_writer = Arc::clone(&queue);
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || of_writer.write_out(output))?;
        Ok(Self(Arc::new(WriterState::Threaded { queue, writer: Mutex::new(Some(writer)) })))
    }

    /// A sink in memory, and a handle to its lines.
    pub fn captured() -> (Self, CapturedLines) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        (Self(Arc::new(WriterState::Captured(Arc::clone(&lines)))), CapturedLines(lines))
    }

    /// Takes a whole line, with its line break. It never waits for input or output.
    pub fn write(&self, line: &[u8]) {
        match &*self.0 {
            WriterState::Captured(lines) => lines.lock().extend_from_slice(line),
            WriterState::Threaded { queue, .. } => queue.push(line),
        }
    }

    /// Writes to `output` from now on. Lines that were taken before still go to the old output. The
    /// call does not wait for the writer. A captured sink ignores it.
    pub fn switch(&self, output: LogOutput) {
        if let WriterState::Threaded { queue, .. } = &*self.0 {
            let mut waiting = queue.waiting.lock();
            // `is_off` is read without the lock, so a line at the moment of the switch may be
            // treated in either way. Taking the lock for every line would cost more than one line
            // in the wrong place.
            queue.is_off.store(output.is_off(), Ordering::Relaxed);
            let before = waiting.lines.len();
            waiting.switches.push((before, output));
            drop(waiting);
            queue.wake.notify_all();
        }
    }

    /// Opens the file again by its name before the next write, for log rotation. If that fails, the
    /// old file is used further, and the failure is logged. The program that rotates the files
    /// sends SIGUSR1 for this.
    pub fn reopen(&self) {
        if let WriterState::Threaded { queue, .. } = &*self.0 {
            queue.waiting.lock().reopen = true;
            queue.wake.notify_all();
        }
    }

    /// Writes everything that waits, and ends the writer. Lines that come later are dropped and
    /// counted. A sink is closed at the end of the process, after the last request.
    pub fn close(&self) {
        self.0.close();
    }

    /// The number of lines that were lost, for lack of room or because they could not be written.
    pub fn dropped(&self) -> u64 {
        match &*self.0 {
            WriterState::Threaded { queue, .. } => queue.dropped.load(Ordering::Relaxed),
            WriterState::Captured(_) => 0,
        }
    }
}

impl LineQueue {
    /// Puts a line into the queue, or drops it if there is no room.
    fn push(&self, line: &[u8]) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting.lock();
        let before = waiting.lines.len();
        if waiting.closing || before.saturating_add(line.len()) > CAPACITY {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
        // Only the line that crosses the threshold wakes the writer; the others would wake it in
        // vain.
        // The writer is woken after the lock is released. If it were woken before, it would at once
        // have to wait for the lock.
        let crossed = before < FLUSH_AT && waiting.lines.len() >= FLUSH_AT;
        drop(waiting);
        if crossed {
            self.wake.notify_one();
        }
    }

    /// The writer: takes all lines that wait, writes them without the lock, and repeats that until
    /// the sink is closed. A failure of the output counts the lines of that round as lost and does
    /// not end the writer.
    fn write_out(&self, mut output: LogOutput) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            self.wake.wait_while_for(&mut waiting, |waiting| !waiting.due(), FLUSH_EVERY);
            // The two buffers change places. Lines can be queued during a slow write, and neither
            // buffer is allocated again.
            batch.clear();
            std::mem::swap(&mut batch, &mut waiting.lines);
            let count = std::mem::take(&mut waiting.count);
            let reopen = std::mem::take(&mut waiting.reopen);
            let switches = std::mem::take(&mut waiting.switches);
            let closing = waiting.closing;
            drop(waiting);

            // Each switch says how many bytes still belong to the output before it, so no line goes
            // to the wrong file.
            let mut rest = batch.as_slice();
            let mut written = Ok(());
            for (end, next) in switches {
                let start = batch.len() - rest.len();
                let (before, after) = rest.split_at(end.saturating_sub(start).min(rest.len()));
                written = written.and(output.write(before));
                (rest, output) = (after, next);
            }
            // Lines that came before a rotation belong to the old file, so the file is opened again
            // only after they are written.
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

impl WaitingLines {
    /// True if the writer has something to do at once.
    fn due(&self) -> bool {
        self.closing || self.reopen || !self.switches.is_empty() || self.lines.len() >= FLUSH_AT
    }
}

/// An opened output for lines. Opening it is separate from switching to it: a reload opens all
/// outputs first, and switches when nothing can fail any more. Dropping it closes the file.
#[derive(Debug)]
pub struct LogOutput(LineOutput);

#[derive(Debug)]
enum LineOutput {
    Off,
    Stdout,
    Stderr,
    File { file: File, path: Box<Path> },
}

impl LogOutput {
    /// Opens `target`; a file is created if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be opened for writing.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(Self(match target {
            LogTarget::Off => LineOutput::Off,
            LogTarget::Stdout => LineOutput::Stdout,
            LogTarget::Stderr => LineOutput::Stderr,
            LogTarget::File(path) => {
                LineOutput::File { file: append_to(path)?, path: path.as_path().into() }
            }
        }))
    }

    fn is_off(&self) -> bool {
        matches!(self.0, LineOutput::Off)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.0 {
            LineOutput::Off => Ok(()),
            LineOutput::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            LineOutput::Stderr => io::stderr().lock().write_all(bytes),
            LineOutput::File { file, .. } => file.write_all(bytes),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let LineOutput::File { file, path } = &mut self.0 {
            *file = append_to(path)?;
        }
        Ok(())
    }
}

/// Opens a log file for appending: several processes may write to it during a takeover. Its group
/// may read it, others may not, since lines contain names and addresses. In a folder that a group
/// may at most pass through, as the state folder is one, a new file is the owner's alone.
fn append_to(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let found = fs::metadata(folder.unwrap_or(Path::new(".")))?;
    let mode = if found.mode() & LISTED_BY_GROUP == 0 { 0o600 } else { 0o640 };
    OpenOptions::new().append(true).create(true).mode(mode).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_capacity_are_dropped_and_counted() {
        let queue = LineQueue::default();
        let line = vec![b'x'; CAPACITY / 4];

        for _ in 0..6 {
            queue.push(&line);
        }

        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(queue.waiting.lock().lines.len(), CAPACITY);
    }

    #[test]
    fn closing_writes_everything_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let sink = LineWriter::open(&LogTarget::File(path.clone())).unwrap();

        sink.write(b"one\n");
        sink.write(b"two\n");
        sink.close();
        sink.write(b"late\n");

        assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo\n");
        assert_eq!(sink.dropped(), 1, "a line after the end is lost and counted");
    }

    #[test]
    fn a_switched_sink_leaves_earlier_lines_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let output = |name: &str| LogOutput::open(&LogTarget::File(path(name))).unwrap();
        let sink = LineWriter::open(&LogTarget::File(path("first"))).unwrap();

        sink.write(b"one\n");
        sink.switch(output("second"));
        sink.write(b"two\n");
        sink.switch(LogOutput::open(&LogTarget::Off).unwrap());
        sink.write(b"lost\n");
        sink.close();

        assert_eq!(fs::read_to_string(path("first")).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(path("second")).unwrap(), "two\n");
        assert_eq!(sink.dropped(), 0, "a log that is off loses nothing");
    }

    #[test]
    fn a_captured_line_is_there_at_once() {
        let (sink, captured) = LineWriter::captured();

        sink.write(b"line\n");

        assert_eq!(captured.text(), "line\n");
    }
}
