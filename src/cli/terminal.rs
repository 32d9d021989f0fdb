//! Questions on the terminal, and the lines that answer them.
//!
//! Questions go to standard error, so that standard output stays usable for programs. Passwords are
//! not read here, but in `hash`, where nothing is shown.

use std::io::{self, BufRead, IsTerminal, Read, Write};

/// True if somebody can be asked: the question goes to standard error, and the answer comes from
/// standard input, so both must be a terminal.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Writes the question, and reads a line of at most `longest` bytes, without its end. `None` if the
/// input has ended (Ctrl-D).
pub(super) fn ask(question: &str, longest: u64) -> io::Result<Option<String>> {
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question}")?;
    terminal.flush()?;
    let mut answer = String::new();
    let length = io::stdin().lock().take(longest).read_line(&mut answer)?;
    Ok((length > 0).then(|| answer.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Writes lines that explain a question or an answer.
pub(super) fn tell(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
}
