//! `[token]`: the form and the lifetime of the tokens that the gateway issues.
//!
//! The values are defaults for every login; a `[[login]]` or its dialect may override some. Signing
//! keys are not read here: only the folder is checked, so that `check` finds a folder that a start
//! could not use.

use std::path::PathBuf;
use std::time::Duration;

use super::admin::own_path;
use super::files::{FilePrivacy, plain};
use super::item::{SpannedValue, choice_of};
use super::reader::TableReader;
use super::schema::TextForm;
use super::suggest::no_such;
use super::warnings::WarningName;
use crate::algorithm::Algorithm;
use crate::settings::{SigningKeyStorage, TokenSettings};

/// ES256 has short signatures and small keys, and every library supports it.
const ALGORITHM: Algorithm = Algorithm::ES256;
const ACCESS_TTL: Duration = Duration::from_secs(15 * 60);
const REFRESH_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Enough for two tabs that refresh at the same time, or a client that repeats a request after a
/// lost answer.
const REFRESH_GRACE: Duration = Duration::from_secs(10);
const LEEWAY: Duration = Duration::from_secs(30);
const ROTATE_EVERY: Duration = Duration::from_secs(90 * 24 * 3600);
/// The words for keys that the gateway makes; a folder of such a name is written as a path, `./store`.
const FOLDER: &str = "folder";
const STORE: &str = "store";
const JWKS_PATH: &str = "/.well-known/jwks.json";
/// About 50 MiB of memory when full.
const CACHE_SIZE: usize = 50_000;

/// Upper bound. Clocks that differ by more are broken, and a wider tolerance would revive expired
/// tokens.
pub(super) const MAX_LEEWAY: Duration = Duration::from_secs(300);
/// Upper bound. During a longer grace a stolen refresh token would pass for a repeated request.
pub(super) const MAX_GRACE: Duration = Duration::from_secs(60);
pub(super) const MIN_TTL: Duration = Duration::from_secs(1);
pub(super) const MAX_TTL: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// Lower bound. A key is published 24 h before it signs, so it has to sign for longer than that.
const MIN_ROTATE: Duration = Duration::from_secs(2 * 24 * 3600);

impl TokenSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let issuer =
            table.required("issuer", "the `iss` of our tokens, e.g. \"https://gateway.example\"");
        let name = issuer.as_ref().and_then(SpannedValue::plain_name);
        if let (Some(item), Some(name)) = (&issuer, &name)
            && !is_url(name)
        {
            item.warn(
                WarningName::IssuerNoUrl,
                "is no URL: services that verify tokens expect one, \"https://gateway.example\"",
            );
        }
        let issuer = name.unwrap_or_default();
        // Without a list the gateway's own tokens are issued for the gateway itself.
        let audience = read_audience(&mut table).unwrap_or_else(|| vec![issuer.clone()]);
        let ttl = MIN_TTL..=MAX_TTL;
        table.default_is("algorithm", ALGORITHM.as_str());
        let algorithm = read_algorithm(&mut table).unwrap_or(ALGORITHM);
        let access_ttl = table.duration_or("access_ttl", ACCESS_TTL, ttl.clone());
        let refresh_ttl = table.duration_or("refresh_ttl", REFRESH_TTL, ttl);
        if access_ttl > refresh_ttl {
            table.issue("access_ttl", "an access token may not outlive its session (refresh_ttl)");
        }
        Self {
            issuer,
            audience,
            algorithm,
            access_ttl,
            refresh_ttl,
            refresh_grace: table.duration_or(
                "refresh_grace",
                REFRESH_GRACE,
                Duration::ZERO..=MAX_GRACE,
            ),
            leeway: table.duration_or("leeway", LEEWAY, Duration::ZERO..=MAX_LEEWAY),
            keys: SigningKeyStorage::read(&mut table),
            rotate_every: table.duration_or("rotate_every", ROTATE_EVERY, MIN_ROTATE..=MAX_TTL),
            jwks_path: own_path(&mut table, "jwks_path", JWKS_PATH),
            cache_size: table.count_or("cache_size", CACHE_SIZE, 0..=10_000_000),
        }
    }
}

fn is_url(text: &str) -> bool {
    let parsed = text.parse::<http::Uri>();
    parsed
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
}

/// Reads `audience`: a list with at least one entry.
pub(super) fn read_audience(table: &mut TableReader<'_>) -> Option<Vec<String>> {
    let item = table.get("audience")?;
    let list = item.filled_list("must name at least one audience, or be left out")?;
    Some(list.iter().filter_map(SpannedValue::plain_name).collect())
}

/// Reads `algorithm`, with which the gateway's own tokens are signed.
pub(super) fn read_algorithm(table: &mut TableReader<'_>) -> Option<Algorithm> {
    algorithm(&table.get("algorithm")?)
}

/// Reads the name of one algorithm. `none` (an unsigned token, RFC 7519, section 6) is refused with
/// a message of its own. Another unknown name is reported with the most similar known one. `None`
/// after a problem was reported.
pub(super) fn algorithm(item: &SpannedValue<'_>) -> Option<Algorithm> {
    let known = || Algorithm::ALL.iter().map(|known| known.as_str());
    let words: Vec<&str> = known().chain([Algorithm::OTHER_EDDSA]).collect();
    let name = item.text_among(&words)?;
    let found = Algorithm::parse(name);
    if found.is_none() {
        item.issue(match name.eq_ignore_ascii_case("none") {
            true => {
                "means no signature at all: name an algorithm, for example \"ES256\"".to_owned()
            }
            false => no_such("algorithm", name, known()),
        });
    }
    found
}

impl SigningKeyStorage {
    fn read(table: &mut TableReader<'_>) -> Self {
        table.default_is("keys", FOLDER);
        let Some(item) = table.get("keys") else { return Self::Folder };
        item.record(choice_of([FOLDER, STORE]));
        match item.text(TextForm::Path) {
            Some(FOLDER) | None => Self::Folder,
            Some(STORE) => Self::Store,
            Some(_) => read_folder(&item).map_or(Self::Folder, Self::Path),
        }
    }
}

/// Reads a folder of keys that the operator manages. The keys themselves are parsed when they are
/// loaded; here each file must be readable and private to its owner. An empty folder is refused,
/// because the gateway could not sign anything. `None` after a problem was reported.
fn read_folder(item: &SpannedValue<'_>) -> Option<PathBuf> {
    let path = item.path()?;
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) => {
            item.issue(format!("is no folder that can be read: {}", plain(&error)));
            return None;
        }
    };
    let mut keys = 0;
    for file in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Err(error) = std::fs::File::open(&file) {
            let name = name.unwrap_or_default();
            item.issue(format!("holds `{name}`, which cannot be read: {}", plain(&error)));
        } else if let Ok(metadata) = file.metadata() {
            item.check_permissions(&metadata, FilePrivacy::Secret);
            keys += 1;
        }
    }
    if keys == 0 {
        item.issue("holds no key: put PEM or JWK files there, or leave it out to have them made");
    }
    Some(path)
}
