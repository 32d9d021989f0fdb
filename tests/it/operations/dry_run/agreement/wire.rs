//! Sends requests as bytes on connections that are kept, and reads the answers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::requests::Generated;

/// An answer, as far as it is compared.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: HashMap<String, String>,
}

/// Connections that are kept, one from each address.
pub(super) struct Connections {
    pub(super) to: SocketAddr,
    pub(super) open: HashMap<IpAddr, TcpStream>,
}

impl Connections {
    pub(super) async fn exchange(&mut self, generated: &Generated) -> Answer {
        let from = generated.asked.from.unwrap();
        let kept = self.open.remove(&from);
        let is_kept = kept.is_some();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect(from).await,
        };
        let mut answered = Self::call(&mut stream, generated).await;
        // A connection may have been closed after the last answer, for example because the body
        // before was not read. The request was then not read either.
        if answered.is_none() && is_kept {
            stream = self.connect(from).await;
            answered = Self::call(&mut stream, generated).await;
        }
        let (answer, is_whole) = answered.expect("an answer on a new connection");
        let closes = answer.fields.get("connection").is_some_and(|value| value == "close");
        if is_whole && !closes {
            self.open.insert(from, stream);
        }
        answer
    }

    async fn connect(&self, from: IpAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let stream = socket.connect(self.to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    async fn call(stream: &mut TcpStream, generated: &Generated) -> Option<(Answer, bool)> {
        stream.write_all(&generated.bytes()).await.ok()?;
        read_answer(stream, &generated.asked.method).await
    }
}

/// Reads an answer to its end; false if the connection was closed with it. `None` if it was closed
/// before.
async fn read_answer(stream: &mut TcpStream, method: &str) -> Option<(Answer, bool)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let has_body = method != "HEAD" && ![204, 304].contains(&status);
    let length = fields.get("content-length").filter(|_| has_body);
    let length = length.map_or(0, |length| length.parse().unwrap());
    assert!(!fields.contains_key("transfer-encoding"), "all answers have a length: {text}");
    while bytes.len() < head + length {
        let read = stream.read(&mut piece).await.unwrap();
        if read == 0 {
            return Some((Answer { status, fields }, false));
        }
        bytes.extend_from_slice(&piece[..read]);
    }
    Some((Answer { status, fields }, true))
}
