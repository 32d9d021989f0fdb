//! Named documents in the shared store: sealed texts that all nodes read and one changes at a time.
//! The signing keys are one, the birth mark is another, and each node keeps a note about itself.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SharedStore;
use super::database::{RecordKey, RecordKind};
use super::feed::Message;
use super::records::{Change, OPERATION};
use super::session_record::AT_ONCE;
use crate::StoreError;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

/// The name of the document of signing keys, which moves along with a store. It is part of what is
/// stored.
pub const SIGNING_KEYS: &str = "signing keys";
/// For how long a node is listed after its last note.
pub const NODE_SEEN_FOR: Duration = Duration::from_secs(60);

/// The note that a node writes about itself, for the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNote {
    /// The name of the node; unique among the nodes of one store.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// A digest of the configuration in effect, to see which nodes have which.
    pub configuration: String,
    /// When the node started.
    pub started: Timestamp,
    /// When the note was written, by the store's clock.
    #[serde(default)]
    pub seen: Timestamp,
}

impl SharedStore {
    /// The content of a document; `None` if there is none.
    ///
    /// # Errors
    /// When the store cannot be reached, or the document is of another form.
    pub async fn document<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        Ok(self.document_and_time(name).await?.0)
    }

    /// The content of a document, and the store's time, by which all nodes should judge it.
    ///
    /// # Errors
    /// As `document`.
    pub async fn document_and_time<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<(Option<T>, Timestamp), StoreError> {
        let key = self.document_key(name);
        let reading = self.records.read(key, self.clock.now());
        self.records.operation(OPERATION, reading).await
    }

    /// Changes a document. `change` gets its content and the store's time, and returns the new
    /// content, or `None` to leave it. It may be called several times: whenever another node was
    /// quicker. Returns the content afterwards. All nodes are notified of a change.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn change_document<T>(
        &self,
        name: &str,
        mut change: impl FnMut(Option<&T>, Timestamp) -> Option<T> + Send,
    ) -> Result<Option<T>, StoreError>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync,
    {
        let key = self.document_key(name);
        let now = self.clock.now();
        let changing = async {
            let updated = self.records.update(key, now, |current: Option<T>, at| {
                match change(current.as_ref(), at) {
                    Some(new) => ((Some(new.clone()), true), Change::Write(new, None)),
                    None => ((current, false), Change::Keep),
                }
            });
            let (content, is_changed) = updated.await?;
            if is_changed {
                self.publish(&[Message::Document(name.to_owned())], now).await?;
            }
            Ok(content)
        };
        self.records.operation(OPERATION, changing).await
    }

    /// Writes the note of this node; to be repeated well within `NODE_SEEN_FOR`.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn note_node(&self, note: &NodeNote) -> Result<(), StoreError> {
        let key = self.node_key(&note.name);
        let keep = Some(NODE_SEEN_FOR);
        let noting = async {
            let joining = self.records.database.join(self.nodes_group(), &key.id, keep);
            self.records.step(joining).await?;
            let now = self.clock.now();
            let written = self.records.update(key, now, |_: Option<NodeNote>, seen| {
                ((), Change::Write(NodeNote { seen, ..note.clone() }, keep))
            });
            written.await
        };
        self.records.operation(OPERATION, noting).await
    }

    /// The nodes that were seen within `NODE_SEEN_FOR`, by name.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn nodes(&self) -> Result<Vec<NodeNote>, StoreError> {
        let now = self.clock.now();
        let reading = async {
            let members = self.records.database.members(self.nodes_group());
            let members = self.records.step(members).await?;
            let notes = stream::iter(members.into_iter().map(|id| async move {
                let key = RecordKey { kind: RecordKind::Document, id };
                let (note, at) = self.records.read::<NodeNote>(key, now).await?;
                Ok(note.filter(|note| at.since(note.seen) < NODE_SEEN_FOR))
            }));
            let notes: Vec<Option<NodeNote>> = notes.buffered(AT_ONCE).try_collect().await?;
            let mut notes: Vec<NodeNote> = notes.into_iter().flatten().collect();
            notes.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(notes)
        };
        self.records.operation(OPERATION, reading).await
    }

    pub(super) fn document_key(&self, name: &str) -> RecordKey {
        self.records.key(RecordKind::Document, &[b"named", name.as_bytes()])
    }

    fn node_key(&self, name: &str) -> RecordKey {
        self.records.key(RecordKind::Document, &[b"node", name.as_bytes()])
    }

    fn nodes_group(&self) -> Digest {
        self.records.seal.name(&[b"nodes"])
    }
}
