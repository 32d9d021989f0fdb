//! Reports about a shared database, for an operator: why it could not be opened, and the findings of
//! `check --online`.
//!
//! The types are the same for all databases. No text contains a credential or a stored value.

/// The reason why a shared database could not be opened. Each text says what is wrong, and what an
/// operator can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedOpenError {
    /// A setting cannot be meant as it is written, for example the URL.
    #[error("{0}")]
    Setting(String),

    /// The server could not be connected to, or did not answer in time. It may answer later.
    #[error("{at} cannot be reached: {cause}")]
    Unreachable { at: String, cause: String },

    /// No TLS connection came about that is worth its name.
    #[error(
        "{at}: no verified TLS connection could be made: {cause}; set `ca` to the authority of \
         the server's certificate, or `tls` to \"none\" if the network in between is trusted"
    )]
    Tls { at: String, cause: String },

    /// The server does not accept the user name or the password.
    #[error("{at} does not accept the user name or the password of `url`: {cause}")]
    Credentials { at: String, cause: String },

    /// The user may not do what the gateway needs; `remedy` is what an administrator would enter.
    #[error("{at}: {cause}; an administrator of the database can enter: {remedy}")]
    Rights { at: String, cause: String, remedy: String },

    /// A later version of the program has changed what is stored.
    #[error(
        "{at}: the store has version {found}, and this program knows versions up to {known}: \
         start the version of the program that made it, or a later one"
    )]
    Newer { at: String, found: i64, known: i64 },

    /// The server answered, but refused a step for another reason.
    #[error("{at}: {cause}")]
    Refused { at: String, cause: String },
}

impl SharedOpenError {
    /// True if trying again later may help without anybody changing a setting.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// How good or bad a `Finding` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Good,
    /// The gateway works, but something may be lost or go slowly.
    Warning,
    /// The gateway cannot work with this database as it is.
    Bad,
}

/// One thing that an inspection of a shared database found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The subject in a word or two, for example `TLS`.
    pub what: String,
    pub verdict: Verdict,
    /// The fact, and the remedy if it is not good.
    pub text: String,
}

impl Finding {
    /// A finding that needs nothing done about it.
    pub fn good(what: &str, text: impl Into<String>) -> Self {
        Self::new(what, Verdict::Good, text)
    }

    /// A finding that an operator should know of.
    pub fn warning(what: &str, text: impl Into<String>) -> Self {
        Self::new(what, Verdict::Warning, text)
    }

    /// A finding that keeps the gateway from working.
    pub fn bad(what: &str, text: impl Into<String>) -> Self {
        Self::new(what, Verdict::Bad, text)
    }

    fn new(what: &str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { what: what.to_owned(), verdict, text: text.into() }
    }
}
