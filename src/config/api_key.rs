//! `[[api_key]]` and `[api_keys]`: keys with which programs call.
//!
//! The configuration contains only the hash of a key that is presented, made by `tollhouse api-key
//! new`. Such a key itself is never written here; where one is found by mistake, the message does not
//! show it. Of a key that signs requests there is the public half, or the shared secret.

use http::header::HeaderName;
use ipnet::IpNet;

use super::files::FilePrivacy;
use super::headers::check_credential_name;
use super::issuer::read_until;
use super::item::SpannedValue;
use super::key_strength::{check_pem, check_secret};
use super::listener::read_net;
use super::names::SectionNames;
use super::reader::TableReader;
use crate::algorithm::Algorithm;
use crate::secret::{Digest, Secret};
use crate::settings::{ApiKey, ApiKeyRules, KeyProof};

/// The field that most clients use.
const HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// Two thousand signed requests a second of one key, and eight times as many of all. They take 50 MiB.
const REMEMBERED: usize = 500_000;
/// At a thousand a key can hardly sign a request a second. At a hundred millions they take 10 GiB.
const MOST_REMEMBERED: std::ops::RangeInclusive<u64> = 1000..=100_000_000;

impl ApiKeyRules {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        Self {
            header: read_header(&mut table),
            remembered_signatures: table.count_or(
                "remembered_signatures",
                REMEMBERED,
                MOST_REMEMBERED,
            ),
        }
    }
}

fn read_header(table: &mut TableReader<'_>) -> HeaderName {
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

impl ApiKey {
    pub(super) fn read(mut table: TableReader<'_>, names: &mut SectionNames) -> Self {
        let id = names.read_key(&mut table, "id", None);
        let name = table.get("name").as_ref().and_then(SpannedValue::plain_name);
        let proof = read_proof(&mut table);
        Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            // Invariant: a stand-in of zeros is never used, since a configuration with a problem
            // never runs.
            proof: proof.unwrap_or(KeyProof::Hash(Digest([0; 32]))),
            roles: table.plain_names("roles").unwrap_or_default(),
            scopes: table.plain_names("scopes").unwrap_or_default(),
            expires: table.get("expires").as_ref().and_then(read_until),
            networks: read_networks(&mut table),
        }
    }
}

/// Reads how a caller proves that the key is theirs. `None` after a problem was reported. A key with
/// two proofs would be as weak as the weaker one.
fn read_proof(table: &mut TableReader<'_>) -> Option<KeyProof> {
    let [hash, public_key, secret] = table.one_of(["hash", "public_key_file", "secret"]);
    let read = [
        hash.map(|item| read_hash(&item).map(KeyProof::Hash)),
        public_key.map(|item| read_public_key(&item)),
        secret.map(|item| read_secret(&item)),
    ];
    let mut given = read.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(proof), None) => proof,
        (None, _) => {
            let remedy = "is missing: `tollhouse api-key new` makes a key and its hash; a key that \
                          signs has public_key_file or secret";
            table.issue("hash", remedy);
            None
        }
        (Some(_), Some(_)) => {
            table.issue("", "has two proofs: hash, public_key_file or secret, one of them");
            None
        }
    }
}

fn read_public_key(item: &SpannedValue<'_>) -> Option<KeyProof> {
    let (_, text) = item.read_text(FilePrivacy::Public)?;
    match check_pem(&text, Algorithm::ALL) {
        Ok(()) => Some(KeyProof::PublicKey(text)),
        Err(fault) => {
            item.issue(fault);
            None
        }
    }
}

/// Reads a shared secret. It must be as long as the shortest hash (RFC 7518, section 3.2); for longer
/// ones `cross_checks_signatures` knows.
fn read_secret(item: &SpannedValue<'_>) -> Option<KeyProof> {
    let secret = item.secret()?;
    match check_secret(secret.expose().len(), &[Algorithm::HS256]) {
        Ok(()) => Some(KeyProof::Secret(Secret::new(secret.expose().clone().into_bytes()))),
        Err(fault) => {
            item.hidden_issue(fault);
            None
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
