//! `tollhouse hash`, and how every command reads a password: from a prompt that shows nothing, or
//! from one line of standard input. A password is never an argument, because other users of the
//! machine can see the arguments of a process.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};

use crate::passwords::{self, policy};
use crate::secret::SecretString;

/// Prints the hash of a password, for a users file that is written by hand.
#[derive(Clone, Debug, clap::Args)]
pub struct HashArgs {
    /// Hash a password that exists already, however weak it is
    #[arg(long)]
    pub any: bool,
}

/// Runs `tollhouse hash`: prints the hash of a password, for a file of users that is written by
/// hand.
///
/// # Errors
/// If there is no password, or it breaks the rules for new passwords.
pub fn run(args: &HashArgs) -> anyhow::Result<()> {
    let password = read_password("Password: ")?;
    if !args.any {
        policy::check_new(password.expose(), &[])?;
    }
    Ok(super::say(passwords::hash(password.expose())?.as_str())?)
}

/// Reads a new password: twice from a terminal, to find typing errors, else the first line of
/// standard input. The prompt is shown on the terminal itself, so the output of the command can be
/// redirected.
///
/// # Errors
/// If there is none, or the two differ.
pub fn read_password(prompt: &str) -> anyhow::Result<SecretString> {
    if !io::stdin().is_terminal() {
        return read_line(&mut io::stdin().lock());
    }
    // The prompt does not show what is typed.
    let ask = |prompt: &str| -> anyhow::Result<SecretString> {
        Ok(SecretString::new(rpassword::prompt_password(prompt).context("no password was read")?))
    };
    let first = ask(prompt)?;
    let second = ask("Once more: ")?;
    if first != second {
        bail!("the two passwords differ");
    }
    not_empty(first)
}

/// Reads an existing password or a code: once from a terminal, else the next line of standard
/// input.
///
/// # Errors
/// If there is none.
pub fn read_known(prompt: &str) -> anyhow::Result<SecretString> {
    if !io::stdin().is_terminal() {
        return read_line(&mut io::stdin().lock());
    }
    let typed = rpassword::prompt_password(prompt).context("nothing was read")?;
    not_empty(SecretString::new(typed))
}

/// The first line without its line end. Spaces are kept, because a password may begin or end with
/// them. An empty line is an error, because it would be an empty password. Further lines are left
/// for the next question.
fn read_line(input: &mut impl BufRead) -> anyhow::Result<SecretString> {
    // Far more than a password may have. A wrong file on standard input is thus read only in part.
    const MAX_LINE: u64 = 64 * 1024;
    let mut line = String::new();
    io::Read::take(input, MAX_LINE)
        .read_line(&mut line)
        .context("standard input is not a line of text")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    not_empty(SecretString::new(line))
}

fn not_empty(password: SecretString) -> anyhow::Result<SecretString> {
    if password.expose().is_empty() {
        bail!("there was no password on standard input");
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_as_it_was_typed() {
        for (input, password, why) in [
            ("secret\n", "secret", "without the line's end"),
            ("secret\r\nmore", "secret", "nor that of other systems"),
            (" with spaces ", " with spaces ", "spaces belong to it"),
        ] {
            let read = read_line(&mut input.as_bytes()).unwrap();
            assert_eq!(read.expose(), password, "{why}");
        }
        assert!(read_line(&mut "\n".as_bytes()).is_err(), "an empty line is no password");
    }
}
