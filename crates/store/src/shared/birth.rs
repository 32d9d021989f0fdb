//! The birth mark of a shared store: when it was made, and the secret that was made with it.
//!
//! A store that lost everything (a server that came back with an empty disk, a restored backup of
//! another system) has another mark, or none. The nodes notice it, and no token from before is
//! accepted: nobody knows which of them were revoked.

use serde::{Deserialize, Serialize};

use super::database::{RecordKey, RecordKind};
use super::records::{Change, Records};
use crate::StoreError;
use std::time::Duration;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::{Digest, random};

/// Why a half-imported store is not used.
const UNFINISHED: &str = "an import into it was begun and is not complete: wait for its end, or \
                          repeat `tollhouse store import` with the same file";

/// The mark. The names are part of what is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct BirthMark {
    /// Tokens that were issued earlier are refused.
    pub(super) made: Timestamp,
    secret: [u8; 32],
    /// The feed has an entry for this mark. A feed without it has lost its entries.
    #[serde(default)]
    is_in_feed: bool,
    /// The id of the file whose import into this store was begun and is not complete. Nobody may use
    /// such a store: revocations may be missing in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) importing: Option<String>,
}

impl BirthMark {
    /// Reads the mark, or makes one if the store is empty. The second value says whether it was made
    /// just now.
    ///
    /// The mark lies `leeway` ahead of the database's clock. A node whose clock is ahead by as much
    /// may have issued tokens with such times before the store was emptied, and they must be refused,
    /// too. Tokens of the new store are never given an earlier time than the mark.
    pub(super) async fn read_or_make(
        records: &Records,
        leeway: Duration,
        now: Timestamp,
    ) -> Result<(Self, bool), StoreError> {
        let key = mark_key(records);
        let read = records.update(key, now, |mark: Option<Self>, at| match mark {
            Some(mark) => ((mark, false), Change::Keep),
            None => {
                let made = at.plus(leeway).whole_secs();
                let mark = Self { made, secret: random(), is_in_feed: false, importing: None };
                ((mark.clone(), true), Change::Write(mark, None))
            }
        });
        let (mark, is_new) = read.await?;
        match mark.importing {
            Some(_) => Err(StoreError::Unavailable(UNFINISHED.into())),
            None => Ok((mark, is_new)),
        }
    }

    /// The mark of a store whose import from the file `file` is under way.
    pub(super) fn imported(made: Timestamp, secret: [u8; 32], file: &str) -> Self {
        Self { made, secret, is_in_feed: false, importing: Some(file.to_owned()) }
    }

    /// The mark of the same store once its import is complete.
    pub(super) fn complete(&self) -> Self {
        Self { importing: None, ..self.clone() }
    }

    /// Notes that the feed has the entry of this mark.
    pub(super) async fn note_in_feed(
        &self,
        records: &Records,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let noted = records.update(mark_key(records), now, |mark: Option<Self>, _| match mark {
            Some(mark) if mark.is_same(self) && !mark.is_in_feed => {
                ((), Change::Write(Self { is_in_feed: true, ..mark }, None))
            }
            _ => ((), Change::Keep),
        });
        noted.await
    }

    /// Replaces this mark, whose feed was lost, by a new one: nobody knows what was revoked.
    pub(super) async fn replace(
        &self,
        records: &Records,
        leeway: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let replaced =
            records.update(mark_key(records), now, |mark: Option<Self>, at| match mark {
                Some(mark) if mark.is_same(self) => {
                    let made = at.plus(leeway).whole_secs();
                    let new = Self { made, secret: random(), is_in_feed: false, importing: None };
                    ((), Change::Write(new, None))
                }
                _ => ((), Change::Keep),
            });
        replaced.await
    }

    /// True if both are the mark of one store.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.secret == other.secret && self.made == other.made
    }

    pub(super) fn is_in_feed(&self) -> bool {
        self.is_in_feed
    }

    /// The digest by which the feed names this mark.
    pub(super) fn digest(&self) -> Digest {
        Digest::of_list(&[b"the mark in the feed", &self.secret])
    }

    pub(super) fn secret(&self) -> [u8; 32] {
        self.secret
    }
}

impl std::fmt::Debug for BirthMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BirthMark").field("made", &self.made).finish_non_exhaustive()
    }
}

pub(super) fn mark_key(records: &Records) -> RecordKey {
    records.key(RecordKind::Document, &[b"birth mark"])
}
