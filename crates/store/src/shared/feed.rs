//! The messages of the feed: sessions that ended, tokens that are refused, cut-offs,
//! and documents that changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::database::FeedEntry;
use super::records::bounded;
use super::seal::Seal;
use crate::{Revocations, StreamOrigin, TokenOwner};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject};
use tollhouse_core::secret::Digest;

/// One piece of news. The form is what is stored, so names must never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The tokens of this session are refused until then.
    Session(SessionId, Timestamp),
    /// This token or credential is refused until then.
    Token(Digest, Timestamp),
    /// Foreign tokens issued to this subject until then are refused.
    SubjectCutoff(Subject, Timestamp),
    /// Foreign tokens issued to this username until then are refused.
    UsernameCutoff(String, Timestamp),
    /// A document has another content.
    Document(String),
    /// The feed belongs to the store with this mark. It is never removed: a feed without it has
    /// lost what else was in it.
    Mark(Digest),
}

/// The sessions and tokens that ended on another node. The gateway ends the streams that were opened with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteEnds {
    pub origins: Vec<StreamOrigin>,
    pub owners: Vec<TokenOwner>,
    /// Names of the documents that changed.
    pub documents: Vec<String>,
}

impl Message {
    pub(super) fn cutoff(owner: &TokenOwner, at: Timestamp) -> Self {
        match owner {
            TokenOwner::Subject(subject) => Self::SubjectCutoff(subject.clone(), at),
            TokenOwner::Username(name) => Self::UsernameCutoff(name.to_string(), at),
        }
    }

    /// The entry for the feed. `now` is the time from which it is kept.
    pub(super) fn entry(&self, seal: &Seal, now: Timestamp) -> Option<FeedEntry> {
        let (what, keep): (Vec<u8>, Option<Duration>) = match self {
            Self::Session(id, until) => (id.0.as_bytes().to_vec(), Some(until.since(now))),
            Self::Token(digest, until) => (digest.0.to_vec(), Some(until.since(now))),
            // Each cut-off is an entry of its own: an earlier one that is written late must not
            // replace a later one for nodes that start afterwards.
            Self::SubjectCutoff(subject, at) => {
                ([subject.as_str().as_bytes(), &at.millis().to_be_bytes()].concat(), None)
            }
            Self::UsernameCutoff(name, at) => {
                ([name.as_bytes(), &at.millis().to_be_bytes()].concat(), None)
            }
            // A node that starts reads documents anyway.
            Self::Document(name) => (name.as_bytes().to_vec(), Some(Duration::from_secs(60))),
            Self::Mark(mark) => (mark.0.to_vec(), None),
        };
        let id = seal.name(&[b"feed", self.kind().as_bytes(), &what]);
        let value = serde_json::to_vec(self).ok()?;
        // The id goes in front of the sealed value, because the value is sealed for this id.
        let sealed = [id.0.as_slice(), &seal.seal(&[b"feed", &id.0], &value)].concat();
        Some(FeedEntry { id, value: sealed, keep: keep.and_then(bounded) })
    }

    /// Reads an entry of the feed; `None` if it cannot be read.
    pub(super) fn read(seal: &Seal, value: &[u8]) -> Option<Self> {
        let (id, sealed) = value.split_first_chunk::<32>()?;
        let opened = seal.open(&[b"feed", id], sealed).ok()?;
        serde_json::from_slice(&opened).ok()
    }

    /// Takes the news over into memory, and notes what ended. Something that was known already is
    /// not noted again.
    pub(super) fn apply(self, revocations: &Revocations, ends: &mut RemoteEnds) {
        match self {
            Self::Session(id, until) => {
                if !revocations.session_revoked(&id) {
                    ends.origins.push(StreamOrigin::Session(id));
                }
                revocations.revoke_session(id, until);
            }
            Self::Token(digest, until) => {
                if !revocations.token_revoked(&digest) {
                    // Which of the two it is, the message does not say: both names are tried.
                    ends.origins.push(StreamOrigin::Credential(digest));
                    ends.origins.push(StreamOrigin::Entry(digest));
                }
                revocations.revoke_token(digest, until);
            }
            Self::SubjectCutoff(subject, at) => {
                let owner = TokenOwner::Subject(subject);
                // An old cut-off must not end what was opened with a newer token.
                if revocations.cutoffs.keep(&owner, at) {
                    ends.owners.push(owner);
                }
            }
            Self::UsernameCutoff(name, at) => {
                let owner = TokenOwner::Username(name.into());
                if revocations.cutoffs.keep(&owner, at) {
                    ends.owners.push(owner);
                }
            }
            Self::Document(name) => ends.documents.push(name),
            Self::Mark(_) => {}
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Session(..) => "session",
            Self::Token(..) => "token",
            Self::SubjectCutoff(..) => "subject",
            Self::UsernameCutoff(..) => "username",
            Self::Document(_) => "document",
            Self::Mark(_) => "mark",
        }
    }
}
