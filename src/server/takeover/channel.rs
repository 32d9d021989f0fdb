//! The connection between the two processes of a takeover: lines of JSON, and descriptors.
//!
//! Descriptors are sent in small groups, each with one byte of its own (SCM_RIGHTS, `unix(7)`). Every
//! length is bounded, and every step has a time limit.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Upper bound on a line in bytes. An offer of a hundred listeners is shorter.
const LONGEST_LINE: usize = 64 << 10;
/// Upper bound on descriptors: eight listeners of a machine with 1024 workers.
const MOST_DESCRIPTORS: usize = 8192;
/// Descriptors in one message. The kernel takes at most 253 (SCM_MAX_FD).
const IN_ONE_MESSAGE: usize = 64;
/// A line or a group of descriptors arrives at once; a process that takes longer hangs.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// One end of the connection.
#[derive(Debug)]
pub(super) struct TakeoverChannel(UnixStream);

impl TakeoverChannel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The process at the other end, as the kernel knows it.
    pub(super) fn peer(&self) -> Option<i32> {
        self.0.peer_cred().ok()?.pid()
    }

    /// Sends a message.
    pub(super) async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        within(SEND_WITHIN, self.0.write_all(&line)).await
    }

    /// Waits for a message, for at most `limit`. Reads no byte more than it, because a descriptor
    /// that comes with a later byte would be lost.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self, limit: Duration) -> io::Result<T> {
        let line = within(limit, self.read_line()).await?;
        Ok(serde_json::from_slice(&line)?)
    }

    async fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() < LONGEST_LINE {
            match self.0.read_u8().await? {
                b'\n' => return Ok(line),
                byte => line.push(byte),
            }
        }
        Err(io::Error::other("a message is too long"))
    }

    /// Sends descriptors; both processes have them then.
    pub(super) async fn send_descriptors(&self, descriptors: &[OwnedFd]) -> io::Result<()> {
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(too_many());
        }
        for group in descriptors.chunks(IN_ONE_MESSAGE) {
            let group: Vec<BorrowedFd<'_>> = group.iter().map(AsFd::as_fd).collect();
            let send = || send_group(&self.0, &group);
            within(SEND_WITHIN, self.0.async_io(Interest::WRITABLE, send)).await?;
        }
        Ok(())
    }

    /// Receives so many descriptors. They are closed in programs that this process runs.
    pub(super) async fn receive_descriptors(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > MOST_DESCRIPTORS {
            return Err(too_many());
        }
        let mut descriptors = Vec::new();
        while descriptors.len() < count {
            let receive = || receive_group(&self.0);
            descriptors
                .extend(within(SEND_WITHIN, self.0.async_io(Interest::READABLE, receive)).await?);
        }
        if descriptors.len() == count { Ok(descriptors) } else { Err(too_many()) }
    }
}

fn too_many() -> io::Error {
    io::Error::other("more descriptors than were announced, or than are taken")
}

async fn within<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no word within {limit:?}"));
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(late()))
}

fn send_group(stream: &UnixStream, group: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_ONE_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(group)) {
        return Err(too_many());
    }
    sendmsg(stream, &[IoSlice::new(b".")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_group(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_ONE_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received =
        recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(group) = message {
            descriptors.extend(group);
        }
    }
    // Cut off: the kernel has closed what did not fit, or this process may have no more open.
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "not all descriptors could be taken: see the limit of open files",
        ));
    }
    if received.bytes == 0 || descriptors.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(descriptors)
}
