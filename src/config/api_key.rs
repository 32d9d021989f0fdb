//! `[[api_key]]` and `[api_keys]`: keys that programs call with.

use http::header::HeaderName;
use ipnet::IpNet;
use toml::Table as Written;

use super::headers::check_credential_name;
use super::issuer::read_until;
use super::item::Item;
use super::listener::read_net;
use super::out::Out;
use super::reader::Table;
use super::suggest::Names;
use crate::clock::{Timestamp, day_ended};
use crate::secret::Digest;

/// Every key, and where clients present theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKeys {
    pub header: HeaderName,
    pub keys: Vec<ApiKey>,
}

/// A key, by the digest of its secret: that has 256 random bits, so nobody guesses it back.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// What it is looked up by; part of what is presented.
    pub id: String,
    /// What its owner is called towards upstreams.
    pub name: String,
    /// SHA-256 of the secret's text.
    pub hash: Digest,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    /// Refused from this instant on.
    pub expires: Option<Timestamp>,
    /// Where it may be used from; empty: from anywhere.
    pub networks: Vec<IpNet>,
}

/// What most clients call it.
const HEADER: HeaderName = HeaderName::from_static("x-api-key");

impl ApiKeys {
    pub(super) fn read_header(mut table: Table<'_>) -> HeaderName {
        let Some(item) = table.get("header") else { return HEADER };
        let Some(name) = item.text() else { return HEADER };
        match check_credential_name(name) {
            Ok(name) => name,
            Err(remedy) => {
                item.issue(remedy);
                HEADER
            }
        }
    }

    pub(super) fn print(&self) -> Written {
        Out::default().text("header", self.header.as_str()).table()
    }
}

impl ApiKey {
    pub(super) fn read(mut table: Table<'_>, names: &mut Names) -> Self {
        let id = names.read_key(&mut table, "id", None);
        let name = table.get("name").as_ref().and_then(Item::word);
        let hash = table.required("hash", "`tollhouse api-key new` makes a key and its hash");
        let hash = hash.as_ref().and_then(read_hash);
        Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            hash: hash.unwrap_or(Digest([0; 32])),
            roles: table.words("roles").unwrap_or_default(),
            scopes: table.words("scopes").unwrap_or_default(),
            expires: table.get("expires").as_ref().and_then(read_until),
            networks: read_networks(&mut table),
        }
    }

    pub(super) fn print(&self) -> Written {
        let networks: Vec<String> = self.networks.iter().map(ToString::to_string).collect();
        Out::default()
            .text("id", &self.id)
            .text("name", &self.name)
            .text("hash", self.hash.hex())
            .texts("roles", self.roles.clone())
            .texts("scopes", self.scopes.clone())
            .maybe("expires", self.expires.map(day_ended))
            .maybe_texts("networks", (!networks.is_empty()).then_some(networks))
            .table()
    }
}

/// An empty list would read as "from nowhere" to one and "from anywhere" to another.
fn read_networks(table: &mut Table<'_>) -> Vec<IpNet> {
    let Some(item) = table.get("networks") else { return Vec::new() };
    if item.is_empty_list() {
        item.issue("must name at least one network, or be left out for all");
    }
    item.list().unwrap_or_default().iter().filter_map(read_net).collect()
}

/// What stands there may be the key itself, so it is not shown.
fn read_hash(item: &Item<'_>) -> Option<Digest> {
    let hash = Digest::from_hex(item.text()?);
    if hash.is_none() {
        item.hidden_issue("must be the 64 hex digits of the secret's SHA-256, not the key itself");
    }
    hash
}
