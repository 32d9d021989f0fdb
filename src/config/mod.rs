//! `gateway.toml`: text -> raw tables -> checked values.
//!
//! Each section has a file with both its raw form (as written) and its checked form (ready
//! values, no `Option` for "defaulted"). Checking reports every problem at once, each with its
//! line, key path, offending value and remedy. No I/O but reading files.

mod admin;
mod issuer;
mod listener;
mod login;
mod mail;
mod process;
mod route;
mod token;
mod upstream;
mod users;

use std::path::PathBuf;

pub use self::admin::{Admin, Health, Log, LogFormat, LogTarget, State, Store};
pub use self::issuer::{Audience, Issuer, IssuerKeys};
pub use self::listener::{
    Bind, Certificate, ClientAuth, Limits, Listener, ListenerTimeouts, Tls, TlsVersion,
};
pub use self::login::{Hashing, Login, LoginLimits, Rate, Tenant};
pub use self::mail::{Mail, MailTls};
pub use self::process::Process;
pub use self::route::{
    AllowPath, CredentialKind, HeaderRules, IdentityForm, Require, Route, RouteCors, Value,
    ValuePart,
};
pub use self::token::Token;
pub use self::upstream::{Balance, Server, ServerAddress, Upstream, UpstreamTimeouts, UpstreamTls};
pub use self::users::{UserSource, UserSourceKind};

/// A whole configuration, checked: every reference resolves and every file it names was read.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; relative paths in it are relative to its folder.
    pub path: PathBuf,
    pub process: Process,
    pub listeners: Vec<Listener>,
    pub admin: Admin,
    pub health: Health,
    pub log: Log,
    pub state: State,
    pub store: Store,
    pub token: Token,
    pub users: Vec<UserSource>,
    pub issuers: Vec<Issuer>,
    pub logins: Vec<Login>,
    pub login_limits: LoginLimits,
    pub mail: Option<Mail>,
    pub upstreams: Vec<Upstream>,
    pub routes: Vec<Route>,
}
