//! The parser for `users.toml`: users out, or every problem listed.
//!
//! A user is `[[user]]` with `id, name, email, password, roles, scopes, claims = {…}, disabled`.
//! Unknown keys are refused, because a misspelled `disabled` would leave a user enabled. Two users
//! that one login could mean are refused too. `reader` reads the single values; `htpasswd` uses the
//! same table for its users.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::canonical::canonical_name;
use super::problem::FileProblem;
use super::reader::{FileReader, closest};
use super::source::{LoginName, UserRecord};
use crate::identity::{UserId, UserProfile};
use crate::passwords::{HashCost, StoredHash};
use crate::secret::Digest;
use crate::settings::AllowWeak;

/// A user with the stored password hash, as the source has them.
#[derive(Clone, Debug, PartialEq)]
pub struct UserEntry {
    pub user: UserRecord,
    pub password: Arc<StoredHash>,
    pub disabled: bool,
}

/// All users of one file, with an index for each key that users are looked up by.
#[derive(Debug, Default)]
pub(super) struct UserTable {
    pub(super) entries: Vec<UserEntry>,
    by_name: HashMap<String, usize>,
    by_email: HashMap<String, usize>,
    by_id: HashMap<UserId, usize>,
    /// The cost of each user's hash, sorted. Unknown names are given one of these costs.
    costs: Vec<HashCost>,
}

const KEYS: &[&str] = &["id", "name", "email", "password", "roles", "scopes", "claims", "disabled"];

/// Parses a users file. `source` is the name of the source in the configuration.
pub(super) fn read(
    text: &str,
    source: &str,
    allow_weak: &AllowWeak,
) -> Result<UserTable, Vec<FileProblem>> {
    let mut reader = FileReader::new(text, allow_weak);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // The parser's message is used without the line that it quotes, because that line may
        // contain a hash.
        for error in errors {
            reader.add(error.span().unwrap_or_default(), "", error.message());
        }
        return Err(reader.into_problems());
    }
    if text.trim().is_empty() {
        // An editor may empty the file before it writes it again. An empty file is therefore an
        // error, and the last good users stay in use; else everybody would be logged out.
        reader.add(0..0, "", "the file is empty; add a user with `tollhouse user add`");
    }
    let mut found = Vec::new();
    for (key, value) in root.into_inner() {
        match key.get_ref().as_ref() {
            "user" => found = read_users(&mut reader, value, source),
            other => reader.add(key.span(), other, unknown_key(other, &["user"])),
        }
    }
    let table = index(&mut reader, found);
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

/// A user, with index and position in the file for messages.
type LocatedEntry = (usize, std::ops::Range<usize>, UserEntry);

fn read_users(
    reader: &mut FileReader<'_>,
    value: Spanned<DeValue<'_>>,
    source: &str,
) -> Vec<LocatedEntry> {
    let span = value.span();
    let DeValue::Array(items) = value.into_inner() else {
        reader.add(span, "user", "is a list: write [[user]] before each user");
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let span = item.span();
        let path = format!("user[{index}]");
        match item.into_inner() {
            DeValue::Table(table) => {
                if let Some(entry) = read_user(reader, table, &path, span.clone(), source) {
                    found.push((index, span, entry));
                }
            }
            _ => reader.add(span, &path, "is a table: write [[user]] before each user"),
        }
    }
    found
}

/// The values of one user, as far as they could be read. The name in the profile is still empty.
#[derive(Default)]
struct RawUser {
    id: Option<String>,
    name: Option<String>,
    profile: UserProfile,
    password: Option<StoredHash>,
    disabled: bool,
}

fn read_user(
    reader: &mut FileReader<'_>,
    table: DeTable<'_>,
    at: &str,
    span: std::ops::Range<usize>,
    source: &str,
) -> Option<UserEntry> {
    let mut raw = RawUser::default();
    let mut has_name = false;
    let mut has_password = false;
    for (key, value) in table {
        let path = format!("{at}.{}", key.get_ref());
        match key.get_ref().as_ref() {
            "id" => raw.id = reader.id(value, &path),
            "name" => {
                has_name = true;
                raw.name = reader.name(value, &path);
            }
            "email" => raw.profile.email = reader.email(value, &path),
            "password" => {
                has_password = true;
                raw.password = reader.password(value, &path);
            }
            "roles" => raw.profile.roles = reader.words(value, &path, false),
            "scopes" => raw.profile.scopes = reader.words(value, &path, true),
            "claims" => raw.profile.claims = reader.claims(value, &path),
            "disabled" => raw.disabled = reader.boolean(value, &path),
            other => reader.add(key.span(), &path, unknown_key(other, KEYS)),
        }
    }
    // A key that is present but wrong has its own problem already, so only a missing one is
    // reported here.
    for (has, key, remedy) in [
        (has_name, "name", "is missing; every user has a name"),
        (has_password, "password", "is missing; make a hash with `tollhouse hash`"),
    ] {
        if !has {
            reader.add(span.clone(), &format!("{at}.{key}"), remedy);
        }
    }
    let profile = UserProfile { name: raw.name?, ..raw.profile };
    Some(entry(source, raw.id, profile, raw.password?, raw.disabled))
}

/// Makes the entry of a user of source `source`. Without an `id`, one is made of the name.
pub(super) fn entry(
    source: &str,
    id: Option<String>,
    profile: UserProfile,
    password: StoredHash,
    disabled: bool,
) -> UserEntry {
    let version = version(&profile, &password, disabled);
    let id = id.map_or_else(|| unnamed_id(source, &profile.name), UserId::new);
    let user = UserRecord { id, source: source.to_owned(), profile, version };
    UserEntry { user, password: Arc::new(password), disabled }
}

/// The id of a user that has none in the file: a UUID of version 5 (RFC 9562) made of source and
/// name. It stays the same as long as the name does.
fn unnamed_id(source: &str, name: &str) -> UserId {
    let text = format!("tollhouse user {}:{source}{}", source.len(), canonical_name(name));
    UserId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string())
}

/// The user's version: the digest whose change ends the user's sessions. Everything that a token or
/// an upstream may rely on is in it; the name is not, because the id identifies the user.
fn version(profile: &UserProfile, password: &StoredHash, disabled: bool) -> Digest {
    // The keys of a table are sorted, so the order of the claims in the file does not matter.
    let claims = serde_json::Value::Object(profile.claims.clone()).to_string();
    let email = profile.email.as_deref();
    let email = email.map_or(Digest::of(b""), |email| Digest::of_list(&[email.as_bytes()]));
    Digest::of_list(&[
        &Digest::of_texts(&profile.roles).0,
        &Digest::of_texts(&profile.scopes).0,
        claims.as_bytes(),
        &email.0,
        &[u8::from(disabled)],
        password.as_str().as_bytes(),
    ])
}

fn unknown_key(key: &str, known: &[&'static str]) -> String {
    closest(key, known).map_or_else(
        || format!("is not a key here; there are {}", known.join(", ")),
        |near| format!("is not a key here; did you mean `{near}`?"),
    )
}

/// Builds the indexes. If two users have the same name, address or id, that is a problem: a login
/// could mean either of them.
fn index(reader: &mut FileReader<'_>, found: Vec<LocatedEntry>) -> UserTable {
    let mut table = UserTable::default();
    let mut places: Vec<usize> = Vec::new();
    for (place, span, entry) in found {
        let position = table.entries.len();
        let user = &entry.user;
        let email = user.profile.email.as_deref().map(canonical_name);
        let taken = [
            ("id", clash(&mut table.by_id, Some(user.id.clone()), position)),
            ("name", clash(&mut table.by_name, Some(canonical_name(&user.profile.name)), position)),
            ("email", clash(&mut table.by_email, email, position)),
        ];
        places.push(place);
        for (key, other) in taken {
            if let Some(other) = other.and_then(|other| places.get(other)) {
                reader.add(
                    span.clone(),
                    &format!("user[{place}].{key}"),
                    format!("is the same as user[{other}].{key}, case and spacing aside"),
                );
            }
        }
        table.costs.push(entry.password.cost());
        table.entries.push(entry);
    }
    table.costs.sort_unstable();
    table
}

/// Takes `key` for `position`, or returns the position that has it already.
fn clash<K: std::hash::Hash + Eq>(
    map: &mut HashMap<K, usize>,
    key: Option<K>,
    position: usize,
) -> Option<usize> {
    match map.entry(key?) {
        MapEntry::Occupied(taken) => Some(*taken.get()),
        MapEntry::Vacant(free) => {
            free.insert(position);
            None
        }
    }
}

impl UserTable {
    /// A table of users who are known to differ in everything they are looked up by.
    pub(super) fn of(entries: Vec<UserEntry>) -> Self {
        let mut table = Self::default();
        for (position, UserEntry { user, password, .. }) in entries.iter().enumerate() {
            table.by_id.insert(user.id.clone(), position);
            table.by_name.insert(canonical_name(&user.profile.name), position);
            if let Some(email) = &user.profile.email {
                table.by_email.insert(canonical_name(email), position);
            }
            table.costs.push(password.cost());
        }
        table.costs.sort_unstable();
        table.entries = entries;
        table
    }

    /// The user with this name or address, in any spelling.
    pub(super) fn named(&self, name: &LoginName) -> Option<&UserEntry> {
        let position = match name {
            LoginName::Username(name) => self.by_name.get(&canonical_name(name)),
            LoginName::Email(email) => self.by_email.get(&canonical_name(email)),
        };
        self.entries.get(*position?)
    }

    /// The user with this id.
    pub(super) fn identified(&self, id: &UserId) -> Option<&UserEntry> {
        self.entries.get(*self.by_id.get(id)?)
    }

    /// The cost of verifying a password for an unknown name.
    ///
    /// It is the cost of some user's hash in the file, always the same one for one name, and each
    /// as often as users have it. Where hashes of different strength are side by side, the time of
    /// the answer then tells nothing about whether a name exists.
    pub(super) fn cost_of_unknown(&self, seed: &[u8; 32], name: &LoginName) -> HashCost {
        let (LoginName::Username(text) | LoginName::Email(text)) = name;
        let digest = Digest::of_list(&[seed, canonical_name(text).as_bytes()]);
        // The digest is read as a fraction of 2^64 and scaled to the number of users. The seed is
        // secret, so nobody can compute which cost an unknown name should have.
        let fraction = digest.0.iter().take(8).fold(0, |sum, byte| sum << 8 | u128::from(*byte));
        let position = (fraction * self.costs.len() as u128) >> 64;
        usize::try_from(position)
            .ok()
            .and_then(|position| self.costs.get(position).copied())
            .unwrap_or_default()
    }
}
