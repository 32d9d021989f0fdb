//! The question before a command that cannot be undone.
//!
//! The question goes to standard error, so that standard output stays usable for programs.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::{bail, ensure};

/// Upper bound in bytes; longer than any answer to a question of yes or no.
const LONGEST_ANSWER: u64 = 64;

/// Asks whether to do `what`, unless `yes` is given. In a script nobody can be asked, and then the
/// command is not carried out: a mistake there must not cost more than at a terminal. The error
/// says how to go on. Everything but `y` and `yes` means no.
pub(super) fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    // Both must be a terminal: the question goes to standard error, and the answer comes from
    // standard input.
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        bail!("to {what} cannot be undone, and there is no terminal to ask on: add --yes");
    }
    let mut terminal = io::stderr().lock();
    write!(terminal, "{what}? It cannot be undone. [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(LONGEST_ANSWER).read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    ensure!(["y", "yes"].contains(&answer.as_str()), "nothing was done");
    Ok(())
}
