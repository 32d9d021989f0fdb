//! `tollhouse user`: the file of users, changed on the command line.
//!
//! The file is changed whether or not a gateway is running; a running one notices the change and
//! reads the file again. Passwords are checked against the rules for new ones, and only their
//! hashes are written.

use std::path::Path;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::confirm::confirm;
use super::format_args::FormatArgs;
use super::hash::read_password;
use super::say;
use crate::identity::UserProfile;
use crate::passwords::{self, policy};
use crate::secret::SecretString;
use crate::users::edit::{self, ListedUser, NewUser};

/// Changes and lists the users of a users file.
#[derive(Clone, Debug, Subcommand)]
pub enum UserFileCommand {
    /// Add a user; the password comes from a prompt or from standard input
    Add(AddArgs),
    /// Change a user's password, which ends their sessions
    Passwd(NameArgs),
    /// List the users
    List(ListArgs),
    /// Remove a user, which ends their sessions
    Remove(RemoveArgs),
    /// Refuse a user's logins and end their sessions
    Disable(NameArgs),
    /// Let a disabled user log in again
    Enable(NameArgs),
}

/// Who is added.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// What they log in as
    pub name: String,

    /// Their e-mail address, for logins that go by it and for one-time codes
    #[arg(long)]
    pub email: Option<String>,

    /// A role; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,

    /// A scope; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,

    /// A further claim; may be given several times
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = parse_claim)]
    pub claims: Vec<(String, String)>,
}

/// Who is meant.
#[derive(Clone, Debug, Args)]
pub struct NameArgs {
    /// The user's name
    pub name: String,
}

/// Who is removed.
#[derive(Clone, Debug, Args)]
pub struct RemoveArgs {
    /// The user's name
    pub name: String,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// How users are listed.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// For a person, or a user a line for a program.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// The file of users that a command is about. Errors name the section, so that it is clear which of
/// several files is meant.
#[derive(Clone, Copy, Debug)]
pub struct UsersFile<'a> {
    /// The name of the `[[users]]` section.
    pub source: &'a str,
    pub path: &'a Path,
}

/// Runs `tollhouse user …` on a file of users.
///
/// # Errors
/// If the password breaks the rules, if there is no such user, or if the file cannot be changed.
pub fn run(command: &UserFileCommand, file: UsersFile<'_>) -> anyhow::Result<()> {
    match command {
        UserFileCommand::Add(args) => {
            refuse_before_asking(args, file)?;
            add(args, &read_password("Password: ")?, file)
        }
        UserFileCommand::Passwd(args) => {
            known(&args.name, file)?;
            passwd(&args.name, &read_password("New password: ")?, file)
        }
        UserFileCommand::List(args) => list(args, file),
        UserFileCommand::Remove(args) => {
            known(&args.name, file)?;
            // The user is looked up before the question, so nobody confirms the removal of a user
            // who does not exist.
            confirm(&format!("remove the user {}", args.name), args.yes)?;
            edit::remove(file.path, &args.name).context("nothing was changed")
        }
        UserFileCommand::Disable(args) => {
            edit::disable(file.path, &args.name, true).context("nothing was changed")
        }
        UserFileCommand::Enable(args) => {
            edit::disable(file.path, &args.name, false).context("nothing was changed")
        }
    }
}

/// Adds a user and prints the user's id.
///
/// # Errors
/// If the password breaks the rules, if the name or address is taken or malformed, or if the file
/// cannot be changed.
pub fn add(args: &AddArgs, password: &SecretString, file: UsersFile<'_>) -> anyhow::Result<()> {
    // A password that contains the user's name or address is refused, because guessing begins with
    // those.
    let own = [args.name.as_str(), args.email.as_deref().unwrap_or_default()];
    policy::check_new(password.expose(), &own)?;
    let user = NewUser {
        name: args.name.clone(),
        email: args.email.clone(),
        password: passwords::hash(password.expose())?,
        roles: args.roles.clone(),
        scopes: args.scopes.clone(),
        claims: args.claims.clone(),
    };
    let id = edit::add(file.path, &user).context("nothing was added")?;
    Ok(say(id)?)
}

/// Changes a user's password, which ends the user's sessions. The old password is not asked for:
/// whoever can write the file could change it anyway.
///
/// # Errors
/// If the password breaks the rules, if there is no such user, or if the file cannot be changed.
pub fn passwd(name: &str, password: &SecretString, file: UsersFile<'_>) -> anyhow::Result<()> {
    let listed = known(name, file)?;
    let profile = &listed.user.profile;
    let own = [profile.name.as_str(), profile.email.as_deref().unwrap_or_default()];
    policy::check_new(password.expose(), &own)?;
    let hash = passwords::hash(password.expose())?;
    edit::passwd(file.path, name, &hash).context("nothing was changed")
}

/// Refuses a name that is taken before the password is asked for: nobody should type a password
/// twice in vain. The file is checked again when it is changed, so a race does no harm.
fn refuse_before_asking(args: &AddArgs, file: UsersFile<'_>) -> anyhow::Result<()> {
    if file.path.exists() && edit::find(file.path, file.source, &args.name)?.is_some() {
        Err(edit::EditError::Exists { name: args.name.clone() })?;
    }
    Ok(())
}

/// The user of this name, or the error that there is none. Names are compared as at a login.
fn known(name: &str, file: UsersFile<'_>) -> anyhow::Result<ListedUser> {
    let found = edit::find(file.path, file.source, name)?;
    Ok(found.ok_or_else(|| edit::EditError::NoSuchUser { name: name.to_owned() })?)
}

fn list(args: &ListArgs, file: UsersFile<'_>) -> anyhow::Result<()> {
    let users = edit::list(file.path, file.source)?;
    if args.format.is_json() {
        return Ok(users.iter().try_for_each(|listed| say(json(listed)))?);
    }
    let width =
        users.iter().map(|listed| listed.user.profile.name.chars().count()).max().unwrap_or(0);
    for ListedUser { user, disabled, weak } in &users {
        let notes = [(*disabled, "disabled"), (*weak, "weak hash, replaced at the next login")];
        let notes = notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note);
        let profile = &user.profile;
        let email = profile.email.as_deref().unwrap_or("-");
        let roles = profile.roles.join(",");
        let notes = notes.collect::<Vec<_>>().join("; ");
        let line = format!("{:width$}  {}  {email}  {roles}  {notes}", profile.name, user.id);
        say(line.trim_end())?;
    }
    Ok(())
}

fn json(listed: &ListedUser) -> serde_json::Value {
    let ListedUser { user, disabled, weak } = listed;
    let UserProfile { name, email, roles, scopes, claims } = &user.profile;
    serde_json::json!({
        "id": user.id, "name": name, "email": email, "roles": roles, "scopes": scopes,
        "claims": claims, "disabled": disabled, "weak_hash": weak,
    })
}

fn parse_claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct UserLine {
        #[command(subcommand)]
        command: UserFileCommand,
    }

    #[test]
    fn no_command_takes_a_password_as_an_argument() {
        UserLine::command().debug_assert();
        for line in [
            ["user", "add", "alice", "--password", "hunter2"].as_slice(),
            &["user", "add", "alice", "hunter2"],
            &["user", "passwd", "alice", "hunter2"],
            &["user", "add", "alice", "--claim", "tenant"],
        ] {
            assert!(UserLine::try_parse_from(line).is_err(), "{line:?}");
        }
        let line = ["user", "add", "alice", "--role", "a", "--role", "b", "--claim", "t=x=y"];
        let UserFileCommand::Add(args) = UserLine::try_parse_from(line).unwrap().command else {
            panic!("it is add");
        };
        assert_eq!(args.roles, ["a", "b"]);
        assert_eq!(args.claims, [("t".to_owned(), "x=y".to_owned())]);
    }
}
