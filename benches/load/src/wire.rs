//! As much of HTTP/1.1 as a proxy's small answers need.

use std::io::{Read, Write};

use crate::Result;

/// A GET with the token in `file`; without one where it is `-`.
pub fn request(file: &str) -> Result<Vec<u8>> {
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\n";
    let credential = match file {
        "-" => String::new(),
        file => format!("Authorization: Bearer {}\r\n", std::fs::read_to_string(file)?.trim()),
    };
    Ok(format!("{head}{credential}\r\n").into_bytes())
}

/// Sends a request and reads its whole answer.
///
/// # Errors
/// Any answer but 200, or one whose length is not told by Content-Length.
pub fn exchange(
    connection: &mut (impl Read + Write),
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<()> {
    connection.write_all(request)?;
    buffer.clear();
    let mut piece = [0; 4096];
    loop {
        let read = connection.read(&mut piece)?;
        if read == 0 {
            return Err("the connection was closed".into());
        }
        buffer.extend_from_slice(&piece[..read]);
        if let Some(whole) = length(buffer)? {
            if buffer.len() > whole {
                return Err("more than one answer".into());
            }
            if buffer.len() == whole {
                return Ok(());
            }
        }
    }
}

/// How long the answer is with its head, once that is there.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("answered {}", head.lines().next().unwrap_or_default()).into());
    }
    let field = head.lines().filter_map(|line| line.split_once(':'));
    let told = field.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let told = told.map(|(_, value)| value.trim().parse::<usize>()).next();
    Ok(Some(end + 4 + told.ok_or("an answer without Content-Length")??))
}
