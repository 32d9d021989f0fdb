//! `[store]`: where sessions and everything that belongs to logging in are kept.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::written;
use crate::secret::{Secret, SecretString};

/// The place where sessions are kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StoreSettings {
    /// A file in the state folder, of this gateway alone.
    Embedded,
    /// A PostgreSQL database that several gateways share.
    Postgres(SharedStoreSettings),
    /// A Redis or Valkey server, or a Cluster, that several gateways share.
    Redis(SharedStoreSettings),
}

/// A store that several gateways share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SharedStoreSettings {
    /// The URL, which may contain a password.
    pub url: SecretString,
    /// A CA to trust in addition to the public ones: its file, and the PEM text in it.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<(PathBuf, String)>,
    /// Connect without TLS to a server on another machine.
    #[serde(rename = "tls", serialize_with = "none_or_verify")]
    pub allow_plain: bool,
    /// Encrypts every value; the same on all nodes.
    pub seal: Secret<[u8; 32]>,
    /// The schema (PostgreSQL) or the prefix of all keys (Redis).
    #[serde(skip)]
    pub namespace: String,
    /// How long credentials are accepted while the store cannot be reached.
    #[serde(serialize_with = "written::duration")]
    pub stale_limit: Duration,
}

impl StoreSettings {
    /// The settings of the shared store, if it is one.
    pub fn shared(&self) -> Option<&SharedStoreSettings> {
        match self {
            Self::Embedded => None,
            Self::Postgres(shared) | Self::Redis(shared) => Some(shared),
        }
    }
}

fn none_or_verify<S: Serializer>(allow_plain: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *allow_plain { "none" } else { "verify" })
}
