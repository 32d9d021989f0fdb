//! `[[api_key]]` and `[api_keys]`: keys with which programs call.
//!
//! The configuration contains only the hash of a key, made by `tollhouse api-key new`. A key itself
//! is never written here; where one is found by mistake, the message does not show it.

use http::header::HeaderName;
use ipnet::IpNet;

use super::headers::check_credential_name;
use super::issuer::read_until;
use super::item::SpannedValue;
use super::listener::read_net;
use super::names::SectionNames;
use super::reader::TableReader;
use crate::secret::Digest;
use crate::settings::{ApiKey, ApiKeySettings};

/// The field that most clients use.
const HEADER: HeaderName = HeaderName::from_static("x-api-key");

impl ApiKeySettings {
    pub(super) fn read_header(mut table: TableReader<'_>) -> HeaderName {
        table.default_is("header", HEADER.as_str());
        let Some(item) = table.get("header") else { return HEADER };
        let Some(name) = item.string() else { return HEADER };
        match check_credential_name(name) {
            Ok(name) => name,
            Err(remedy) => {
                item.issue(remedy);
                HEADER
            }
        }
    }
}

impl ApiKey {
    pub(super) fn read(mut table: TableReader<'_>, names: &mut SectionNames) -> Self {
        let id = names.read_key(&mut table, "id", None);
        let name = table.get("name").as_ref().and_then(SpannedValue::plain_name);
        let hash = table.required("hash", "`tollhouse api-key new` makes a key and its hash");
        let hash = hash.as_ref().and_then(read_hash);
        Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            // Invariant: a stand-in of zeros is never used, since a configuration with a problem
            // never runs.
            hash: hash.unwrap_or(Digest([0; 32])),
            roles: table.plain_names("roles").unwrap_or_default(),
            scopes: table.plain_names("scopes").unwrap_or_default(),
            expires: table.get("expires").as_ref().and_then(read_until),
            networks: read_networks(&mut table),
        }
    }
}

/// Reads `networks`. An empty list is refused: one reader takes it for "from nowhere", another for
/// "from everywhere". The operator has to say which of the two they mean. An address without a
/// length is a network of one.
fn read_networks(table: &mut TableReader<'_>) -> Vec<IpNet> {
    let Some(item) = table.get("networks") else { return Vec::new() };
    let remedy = "must name at least one network, or be left out for all";
    item.filled_list(remedy).unwrap_or_default().iter().filter_map(read_net).collect()
}

/// Reads the hash. The value may be the key itself by mistake, so it is not shown.
fn read_hash(item: &SpannedValue<'_>) -> Option<Digest> {
    let hash = Digest::from_hex(item.string()?);
    if hash.is_none() {
        item.hidden_issue("must be the 64 hex digits of the secret's SHA-256, not the key itself");
    }
    hash
}
