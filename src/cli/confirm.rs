//! A question before what cannot be undone.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::{bail, ensure};

/// Longer than any answer to a question of yes or no.
const LONGEST_ANSWER: u64 = 64;

/// Asks whether to do `what`, unless `yes` says so. Where nobody can be asked, in a script, it is
/// not done: a slip there must not cost what a slip at a terminal would not.
pub(super) fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        bail!("to {what} cannot be undone, and there is no terminal to ask on: add --yes");
    }
    let mut asked = io::stderr().lock();
    write!(asked, "{what}? It cannot be undone. [y/N] ")?;
    asked.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(LONGEST_ANSWER).read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    ensure!(["y", "yes"].contains(&answer.as_str()), "nothing was done");
    Ok(())
}
