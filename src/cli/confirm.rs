//! The question before a command that cannot be undone.
//!
//! The question goes to standard error, so that standard output stays usable for programs.

use anyhow::{bail, ensure};

use super::terminal;

/// Upper bound in bytes; longer than any answer to a question of yes or no.
const LONGEST_ANSWER: u64 = 64;

/// Asks whether to do `what`, unless `yes` is given. In a script nobody can be asked, and then the
/// command is not carried out: a mistake there must not cost more than at a terminal. The error
/// says how to go on. Everything but `y` and `yes` means no.
pub(super) fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !terminal::is_interactive() {
        bail!("to {what} cannot be undone, and there is no terminal to ask on: add --yes");
    }
    let question = format!("{what}? It cannot be undone. [y/N] ");
    let answer = terminal::ask(&question, LONGEST_ANSWER)?.unwrap_or_default();
    ensure!(is_yes(&answer), "nothing was done");
    Ok(())
}

/// True for `y` and `yes`, in any case.
pub(super) fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
}
