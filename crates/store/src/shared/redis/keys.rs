//! The names of all keys, and the slots that they have in a Cluster.
//!
//! A record is alone in its slot, so records spread over all nodes. Keys that a script changes
//! together have the part in braces in common, which alone decides about the slot. Every name
//! begins with the prefix, so one pattern of an ACL allows them all. The names are part of what is
//! stored, so they must never change.

use tollhouse_core::secret::Digest;

use crate::shared::{RecordKey, RecordKind, SharedOpenError};

/// The number of slots of every Cluster.
const SLOTS: u16 = 16384;
/// Over how many sorted sets the ids of a kind that is walked over are spread. More sets would
/// spread them better over the nodes of a Cluster, and each page of a walk asks all of them.
pub(super) const BUCKETS: u8 = 16;
const LONGEST_PREFIX: usize = 64;

/// The sorted sets with some of the ids of one kind.
#[derive(Clone, Debug)]
pub(super) struct IndexKeys {
    /// The ids, all with the same score, so that the set is in the order of the ids.
    pub(super) ids: String,
    /// The ids by the time when they should be looked at.
    pub(super) due: String,
    pub(super) slot: u16,
}

/// The keys of the feed.
#[derive(Clone, Debug)]
pub(super) struct FeedKeys {
    /// The stream of the entries that were published in the last hour, in order.
    pub(super) stream: String,
    /// The id of the last entry of the stream.
    pub(super) last: String,
    /// All entries that a starting node must know, by their ids.
    pub(super) entries: String,
    /// The same ids by the time when nobody must know them any more.
    pub(super) ends: String,
    pub(super) slot: u16,
}

/// Makes the names of keys.
#[derive(Clone, Debug)]
pub(super) struct KeyNames {
    prefix: String,
}

impl KeyNames {
    /// # Errors
    /// If the prefix is empty, long, or has other characters than letters, digits, `.`, `_`, `-`
    /// and `:`. A brace would put all keys into one slot.
    pub(super) fn new(prefix: &str) -> Result<Self, SharedOpenError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.chars().all(allowed) {
            return Err(SharedOpenError::Setting(format!(
                "the key prefix must have 1 to {LONGEST_PREFIX} letters, digits, `.`, `_`, `-` or \
                 `:`"
            )));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn record(&self, key: &RecordKey) -> String {
        self.record_of(key.kind, &key.id)
    }

    pub(super) fn record_of(&self, kind: RecordKind, id: &[u8]) -> String {
        format!("{}:{}:{}", self.prefix, kind.name(), hex(id))
    }

    pub(super) fn group(&self, group: Digest) -> String {
        format!("{}:groups:{}", self.prefix, group.hex())
    }

    /// The sets that have this id.
    pub(super) fn index(&self, kind: RecordKind, id: &[u8]) -> IndexKeys {
        self.bucket(kind, id.last().copied().unwrap_or(0) % BUCKETS)
    }

    pub(super) fn bucket(&self, kind: RecordKind, bucket: u8) -> IndexKeys {
        let tag = format!("{{{}.{bucket}}}", kind.name());
        let ids = format!("{}:ids:{tag}", self.prefix);
        let slot = slot(&ids);
        IndexKeys { ids, due: format!("{}:due:{tag}", self.prefix), slot }
    }

    pub(super) fn feed(&self) -> FeedKeys {
        let key = |name: &str| format!("{}:{{feed}}:{name}", self.prefix);
        let stream = key("stream");
        let slot = slot(&stream);
        FeedKeys { stream, last: key("last"), entries: key("entries"), ends: key("ends"), slot }
    }

    /// A key that only a check of rights uses, with a name of its own for each type.
    pub(super) fn probe(&self, name: &str) -> String {
        format!("{}:{{probe}}:{name}", self.prefix)
    }

    /// The key with the version of what is stored.
    pub(super) fn format(&self) -> String {
        format!("{}:format", self.prefix)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The slot of a key: a checksum of the part between the first `{` and the next `}`, or of the
/// whole key if there is no such part.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16(hashed.as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, which the specification of the Cluster prescribes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // The slots that `CLUSTER KEYSLOT` of a server answers.
        for (key, expected) in [("foo", 12182), ("bar", 5061), ("{foo}:x", 12182), ("{}foo", 9500)]
        {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn keys_of_one_script_share_a_slot_and_records_do_not() {
        let keys = KeyNames::new("tollhouse").unwrap();
        let feed = keys.feed();
        let index = keys.index(RecordKind::Session, &[1, 2, 0xA3]);

        for key in [&feed.last, &feed.entries, &feed.ends] {
            assert_eq!(slot(key), feed.slot);
        }
        assert_eq!(index.ids, "tollhouse:ids:{sessions.3}");
        assert_eq!(slot(&index.due), index.slot);
        let of = |id: &[u8]| slot(&keys.record_of(RecordKind::Session, id));
        assert_ne!(of(&[1]), of(&[2]));
    }

    #[test]
    fn a_prefix_cannot_choose_the_slot() {
        for wrong in ["", "a b", "{a}", "a*", &"a".repeat(65)] {
            assert!(KeyNames::new(wrong).is_err(), "{wrong}");
        }
    }
}
