//! The rows of an export. They are written as JSON, so their names must never change.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{KnownAccount, Session};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Digest;

/// One row. The first one of an export is `Birth`; the order of the others does not matter.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportRow {
    /// The identity of the store. Tokens issued before `made` are refused; `secret` is
    /// `Store::secret`; `seen` is the latest time that the store has seen.
    Birth { made: Timestamp, secret: [u8; 32], seen: Timestamp },
    /// A session that has not ended, with the state of its refresh tokens.
    Session(Box<Session>),
    /// A session that has ended, and until when its access tokens are refused.
    EndedSession { id: SessionId, until: Timestamp },
    /// A single token that is refused until then.
    RefusedToken { digest: Digest, until: Timestamp },
    /// Foreign tokens that were issued to the subject until then are refused.
    SubjectCutoff { subject: Subject, at: Timestamp },
    /// Foreign tokens that were issued to the username until then are refused.
    UsernameCutoff { name: String, at: Timestamp },
    /// A remembered user of a remote source. `has_name` is false if another user has taken over the
    /// name that this one had last.
    Account { account: Box<KnownAccount>, has_name: bool },
    /// The secret of a second step, and the last time step whose code was used. An empty source
    /// means a row from before sources were noted: it applies to every user with this id until one
    /// of them presents a valid code.
    SecondStep { source: String, id: UserId, secret: Vec<u8>, made: Timestamp, used: u64 },
    /// The signing keys, and the ids of those that were revoked. The content is that of the document
    /// in a shared store, and is not interpreted here.
    SigningKeys { document: serde_json::Value },
}

impl ExportRow {
    /// False if the row has ended and nobody needs it at `now`. `leeway` is how much clocks may
    /// differ.
    pub(crate) fn is_needed(&self, now: Timestamp, leeway: Duration) -> bool {
        match self {
            // An access token may outlive a session that idled out, and may have to be revoked.
            Self::Session(session) => session.ends().max(session.access_until).plus(leeway) > now,
            Self::EndedSession { until, .. } | Self::RefusedToken { until, .. } => *until > now,
            Self::Birth { .. }
            | Self::SubjectCutoff { .. }
            | Self::UsernameCutoff { .. }
            | Self::Account { .. }
            | Self::SecondStep { .. }
            | Self::SigningKeys { .. } => true,
        }
    }
}

// Written by hand: the derived form would print secrets into logs.
impl fmt::Debug for ExportRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Birth { .. } => "Birth",
            Self::Session(_) => "Session",
            Self::EndedSession { .. } => "EndedSession",
            Self::RefusedToken { .. } => "RefusedToken",
            Self::SubjectCutoff { .. } => "SubjectCutoff",
            Self::UsernameCutoff { .. } => "UsernameCutoff",
            Self::Account { .. } => "Account",
            Self::SecondStep { .. } => "SecondStep",
            Self::SigningKeys { .. } => "SigningKeys",
        })
    }
}

/// Number of rows of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    pub sessions: u64,
    pub ended_sessions: u64,
    pub refused_tokens: u64,
    pub cutoffs: u64,
    pub accounts: u64,
    pub second_steps: u64,
    #[serde(default)]
    pub signing_keys: u64,
}

impl RowCounts {
    pub(crate) fn count(&mut self, row: &ExportRow) {
        let count = match row {
            ExportRow::Birth { .. } => return,
            ExportRow::Session(_) => &mut self.sessions,
            ExportRow::EndedSession { .. } => &mut self.ended_sessions,
            ExportRow::RefusedToken { .. } => &mut self.refused_tokens,
            ExportRow::SubjectCutoff { .. } | ExportRow::UsernameCutoff { .. } => &mut self.cutoffs,
            ExportRow::Account { .. } => &mut self.accounts,
            ExportRow::SecondStep { .. } => &mut self.second_steps,
            ExportRow::SigningKeys { .. } => &mut self.signing_keys,
        };
        *count = count.saturating_add(1);
    }

    /// True if there is no row of any kind.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// For people: the kinds of which there are any.
impl fmt::Display for RowCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.sessions, "session", "sessions"),
            (self.ended_sessions, "ended session", "ended sessions"),
            (self.refused_tokens, "refused token", "refused tokens"),
            (self.cutoffs, "cut-off", "cut-offs"),
            (self.accounts, "known user", "known users"),
            (self.second_steps, "second step", "second steps"),
            (self.signing_keys, "set of signing keys", "sets of signing keys"),
        ];
        let mut separator = "";
        for (count, one, many) in kinds.into_iter().filter(|(count, ..)| *count > 0) {
            write!(f, "{separator}{count} {}", if count == 1 { one } else { many })?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
