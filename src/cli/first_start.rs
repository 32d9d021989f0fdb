//! The text that the first start prints: which user exists, where the password is, and one block to
//! paste that logs in with each dialect and calls a route with the result.
//!
//! The block is for `sh` and a curl of 2020 (7.68), which old servers have: no `--json`, no
//! here-strings, and `sed` to take a token out of an answer.

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::server::{FIRST_PASSWORD, InitialUser, RunningServer};
use crate::settings::Config;

/// Shows the password of the first user once: on a terminal, else in a file that only its owner can
/// read, since standard output may go to a log that many people read. If that fails, the user is
/// removed, and the next start makes another one.
pub(super) fn welcome(
    user: &InitialUser,
    config: &Config,
    running: &RunningServer,
) -> anyhow::Result<()> {
    // A password on a terminal is seen by the person who has started the gateway. Anything else may
    // be stored or forwarded.
    let place = if io::stdout().is_terminal() { None } else { Some(password_file(config)?) };
    if let Some(file) = &place
        && let Err(error) = write_password(user, file)
    {
        let taken_back = user.remove();
        taken_back.context("the first user cannot be removed, and the password was never shown")?;
        return Err(error).with_context(|| format!("could not write {}", file.display()));
    }
    let address = running.addresses().first().map(ToString::to_string).unwrap_or_default();
    // The gateway serves, whether or not anybody reads this text.
    let _ = super::say(text(user, place.as_deref(), &address, config).trim_end());
    Ok(())
}

/// The path of the password file. It is absolute, because the printed commands may be pasted
/// anywhere. The file is in the state folder, which only the gateway's user can enter.
fn password_file(config: &Config) -> io::Result<PathBuf> {
    std::path::absolute(config.state.dir.join(FIRST_PASSWORD))
}

/// Writes the password to a file with mode 0600. The mode is set when the file is created, so that
/// nobody else can open it in between. An existing file is overwritten: its password was never
/// valid, or is not any more.
fn write_password(user: &InitialUser, file: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    opened.write_all(format!("{}\n", user.password.expose()).as_bytes())
}

/// The whole text, with a block for each dialect that the configuration serves.
fn text(user: &InitialUser, place: Option<&Path>, address: &str, config: &Config) -> String {
    let InitialUser { name, email, .. } = user;
    let (where_kept, password) = match place {
        Some(file) => (
            format!(
                "whose password is in\n{}, until it is changed with `tollhouse user passwd {name}`",
                file.display()
            ),
            format!("$(cat {})", quoted(&file.display().to_string())),
        ),
        None => (
            format!(
                "whose password is shown\nthis once. Another is set with `tollhouse user passwd {name}`"
            ),
            quoted(user.password.expose()),
        ),
    };
    // A proxy in front of the gateway may be the one that speaks TLS.
    let speaks_tls = config.listeners.first().is_some_and(|listener| listener.tls.is_some());
    let scheme = if speaks_tls { "https" } else { "http" };
    let mut text = format!(
        "\nThis is the first start: there is one user now, `{name}` ({email}), {where_kept}. Paste, in \
         another terminal:\n\n  PASSWORD={password}\n  GATEWAY={scheme}://{address}\n"
    );
    for (dialect, lines) in BLOCKS {
        if config.logins.iter().any(|login| login.dialect.name == dialect) {
            text.push_str(&lines.replace("{name}", name).replace("{email}", email));
        }
    }
    text
}

/// Quotes a text for the shell, so that no character in it has a meaning.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The block to paste for each dialect. Passwords and tokens of the gateway need no quoting in
/// JSON. `{name}` and `{email}` stand for those of the user. A dialect that the configuration does
/// not serve is left out.
const BLOCKS: [(&str, &str); 6] = [
    (
        "native",
        r#"
  # native
  TOKEN=$(curl -sk $GATEWAY/auth/login -H 'Content-Type: application/json' \
    -d '{"username":"{name}","password":"'"$PASSWORD"'"}' | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
  curl -sk $GATEWAY/hello -H "Authorization: Bearer $TOKEN"; echo
"#,
    ),
    (
        "webitel",
        r#"
  # webitel
  PAIR=$(curl -sk $GATEWAY/login -H 'Content-Type: application/json' \
    -d '{"username":"{name}","password":"'"$PASSWORD"'"}')
  TOKEN=$(printf %s "$PAIR" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
  KEY=$(printf %s "$PAIR" | sed -n 's/.*"key":"\([^"]*\)".*/\1/p')
  curl -sk $GATEWAY/api/v2/calls -H "X-Access-Token: $TOKEN" -H "X-Key: $KEY"; echo
"#,
    ),
    (
        "datarhei",
        r#"
  # datarhei
  curl -sk $GATEWAY/api/login -H 'Content-Type: application/json' \
    -d '{"username":"{name}","password":"'"$PASSWORD"'"}'; echo
"#,
    ),
    (
        "aviate",
        r#"
  # aviate
  curl -sk -X POST $GATEWAY/plugins/aviate-plugin/v1/auth -u "{email}:$PASSWORD"; echo
"#,
    ),
    (
        "nomic",
        r#"
  # nomic
  curl -sk -X POST $GATEWAY/api/auth/token -u "{name}:$PASSWORD"; echo
"#,
    ),
    (
        "avenia",
        r#"
  # avenia, which mails a code: 503 until gateway.toml has a [mail]
  curl -sk $GATEWAY/v2/auth/login -H 'Content-Type: application/json' \
    -d '{"email":"{email}","password":"'"$PASSWORD"'"}'; echo
"#,
    ),
];
