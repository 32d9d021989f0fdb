//! Passwords: their hashes as they are stored, the threads that hash, and the rules for new ones.
//!
//! The gateway makes Argon2id. Hashes from other systems are read from their own text, with a file
//! here for each family. They come in two grades: *outdated* ones are slow and salted, and are
//! replaced at the next login where possible; *weak* ones are as fast as a digest, and are accepted
//! only where `allow_weak` names them.
//!
//! A stored hash says how much it costs to verify, so that cost is bounded when it is read: a line
//! in a users file must not take a gigabyte at each login. A password is hashed as it was typed,
//! never shortened.
//!
//! `HashPool` hashes in its own bounded threads; nothing else here waits. `policy` checks new
//! passwords. This room knows no users: `users` and `cli` call it.

mod argon2;
mod bcrypt;
mod cost;
mod digests;
mod fields;
mod hash_pool;
mod hash_queue;
mod hash_stats;
mod pbkdf2;
pub mod policy;
mod problem;
mod salted;
mod scrypt;
mod sha_crypt;
mod webitel;

use std::fmt;

pub use self::cost::HashCost;
pub use self::digests::{HmacDigest, ShaVariant};
pub use self::hash_pool::{HashPool, HashPoolError};
pub use self::hash_stats::HashCounts;
pub use self::problem::{BadHash, HashError};

use crate::settings::{AllowWeak, WeakScheme};

/// A password hash that was read and is well-formed. Its debug output does not contain the hash.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    text: String,
    form: HashFormat,
    cost: HashCost,
    outdated: bool,
}

/// The family of a hash, with the parsed values where its library needs them.
#[derive(Clone, PartialEq, Eq)]
enum HashFormat {
    /// The libraries of the first three parse the text themselves when they verify.
    Argon2(Box<str>),
    Bcrypt(Box<str>),
    ShaCrypt(Box<str>),
    Scrypt(scrypt::ScryptHash),
    Pbkdf2(pbkdf2::Pbkdf2Hash),
    Salted(salted::SaltedHash),
    Webitel(webitel::WebitelHash),
}

/// The result of reading a text that belongs to a family.
type ParsedHash = Result<(HashFormat, HashCost), BadHash>;

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// Schemes that are known and always refused: without salt, with shortened passwords, or broken.
/// They have names here so that the message can say which one it is.
const REFUSED: &[(&str, &str)] = &[
    ("$apr1$", "apr1"),
    ("$1$", "md5-crypt"),
    ("$2x$", "bcrypt $2x$"),
    ("$P$", "phpass"),
    ("$H$", "phpass"),
    ("{noop}", "{noop}"),
    ("{cleartext}", "{CLEARTEXT}"),
    ("{sha}", "{SHA}"),
    ("{sha-1}", "{SHA-1}"),
    ("{sha256}", "{SHA256}"),
    ("{sha-256}", "{SHA-256}"),
    ("{sha384}", "{SHA384}"),
    ("{sha512}", "{SHA512}"),
    ("{md4}", "{MD4}"),
    ("{md5}", "{MD5}"),
    ("{smd5}", "{SMD5}"),
    ("{ldap}", "{ldap}"),
];

/// Prefixes that may come before a hash in its own `$` form: schemes of Spring and LDAP, and the
/// name that Django uses.
const WRAPPERS: &[&str] = &[
    "{bcrypt}",
    "{argon2}",
    "{argon2@SpringSecurity_v5_2}",
    "{argon2@SpringSecurity_v5_8}",
    "{CRYPT}",
    "argon2",
];

impl StoredHash {
    /// Reads a hash of any family that is not weak.
    ///
    /// # Errors
    ///
    /// If the text is no such hash, or asks for more work than a login may cost.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        Self::parse_allowing(text, &AllowWeak::default())
    }

    /// Reads a hash of any family that is not weak, or of a weak one that the source allows.
    ///
    /// # Errors
    ///
    /// As for `parse`.
    pub fn parse_allowing(text: &str, allowed: &AllowWeak) -> Result<Self, BadHash> {
        let (form, cost) = read(text)?;
        if let Some(scheme) = form.weak()
            && !allowed.allows(scheme)
        {
            return Err(BadHash::NotAllowed { scheme });
        }
        let outdated = match &form {
            HashFormat::Argon2(text) => argon2::is_outdated(text, cost),
            _ => true,
        };
        Ok(Self { text: text.to_owned(), form, cost, outdated })
    }

    /// The hash as it is written. It is for the file or database that it came from, and must never
    /// be logged.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The cost of verifying this hash.
    pub fn cost(&self) -> HashCost {
        self.cost
    }

    /// True if the hash is weaker than those that the gateway makes today.
    pub fn needs_rehash(&self) -> bool {
        self.outdated
    }

    /// The scheme, if it is one that is accepted only with the operator's permission.
    pub fn weak(&self) -> Option<WeakScheme> {
        self.form.weak()
    }

    /// True if this is a hash of `password`. Blocks for as long as the hash takes.
    ///
    /// # Errors
    ///
    /// If it could not be computed, for example for lack of memory. That says nothing about the
    /// password.
    pub fn verify(&self, password: &str) -> Result<bool, HashError> {
        // Three kinds of password are never right: an empty one, one longer than the bound, and one
        // with a NUL byte, which HMAC and bcrypt confuse with other passwords. The hash is computed
        // for them as well, so that they take the same time as any other.
        let bytes = password.as_bytes();
        let readable = !bytes.is_empty() && bytes.len() <= policy::MAX_BYTES && !bytes.contains(&0);
        let bytes = head(bytes, policy::MAX_BYTES);
        let right = match &self.form {
            HashFormat::Argon2(text) => argon2::verify(bytes, text)?,
            HashFormat::Bcrypt(text) => bcrypt::verify(bytes, text)?,
            HashFormat::ShaCrypt(text) => sha_crypt::verify(bytes, text)?,
            HashFormat::Scrypt(stored) => stored.verify(bytes)?,
            HashFormat::Pbkdf2(stored) => stored.verify(bytes),
            HashFormat::Salted(stored) => stored.verify(bytes),
            HashFormat::Webitel(stored) => stored.verify(bytes),
        };
        Ok(right && readable)
    }
}

impl HashFormat {
    fn weak(&self) -> Option<WeakScheme> {
        match self {
            Self::Salted(stored) => Some(stored.scheme()),
            Self::Webitel(_) => Some(WeakScheme::WebitelMd5),
            Self::Argon2(_) | Self::Bcrypt(_) | Self::ShaCrypt(_) => None,
            Self::Scrypt(_) | Self::Pbkdf2(_) => None,
        }
    }
}

impl Default for HashCost {
    /// The cost of the hashes that the gateway makes.
    fn default() -> Self {
        argon2::OURS
    }
}

impl HashCost {
    /// A hash of this cost that no password matches. Verifying it stands in for the hash of a user
    /// that does not exist, so that an unknown name takes as long as a wrong password; otherwise
    /// the time of the answer would tell which names exist. Salt and output are random, so finding a password for it is as hard as
    /// guessing.
    pub fn dummy(self) -> StoredHash {
        let (text, form) = match self {
            Self::Digest { scheme: WeakScheme::WebitelMd5 } => webitel::dummy(),
            Self::Digest { scheme } => salted::dummy(scheme),
            Self::ShaCrypt { variant, rounds } => sha_crypt::dummy(variant, rounds),
            Self::Pbkdf2 { prf, rounds } => pbkdf2::dummy(prf, rounds),
            Self::Bcrypt { cost } => bcrypt::dummy(cost),
            Self::Scrypt { log_n, r, p } => scrypt::dummy(log_n, r, p),
            Self::Argon2 { memory, passes, lanes } => argon2::dummy(memory, passes, lanes),
        };
        StoredHash { text, form, cost: self, outdated: false }
    }
}

/// Makes a new Argon2id hash of `password` with a random salt. Blocks for as long as the hash
/// takes.
///
/// # Errors
///
/// If it could not be computed, for example for lack of memory.
pub fn hash(password: &str) -> Result<StoredHash, HashError> {
    let text = argon2::hash(password.as_bytes())?;
    let form = HashFormat::Argon2(text.as_str().into());
    Ok(StoredHash { text, form, cost: HashCost::default(), outdated: false })
}

/// `StoredHash::verify` as a function.
///
/// # Errors
///
/// As for `StoredHash::verify`.
pub fn verify(password: &str, stored: &StoredHash) -> Result<bool, HashError> {
    stored.verify(password)
}

/// `StoredHash::needs_rehash` as a function.
pub fn needs_rehash(stored: &StoredHash) -> bool {
    stored.needs_rehash()
}

/// The first `most` bytes of a password that is too long to be right; they are hashed for the sake
/// of time only.
fn head(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

fn read(text: &str) -> ParsedHash {
    if text.is_empty() {
        return Err(BadHash::Empty);
    }
    // A wrapper is removed only if a hash in `$` form follows. Spring's `{bcrypt}` and LDAP's
    // `{CRYPT}` wrap such hashes unchanged.
    let inner = WRAPPERS.iter().find_map(|wrapper| after(text, wrapper));
    let text = inner.filter(|inner| inner.starts_with('$')).unwrap_or(text);
    if let Some((_, scheme)) = REFUSED.iter().find(|(prefix, _)| after(text, prefix).is_some()) {
        return Err(BadHash::Weak { scheme });
    }
    match text.as_bytes().first() {
        Some(b'$') => read_modular(text),
        Some(b'{') => read_braced(text),
        _ if text.starts_with("pbkdf2_") => pbkdf2::read_django(text),
        _ => Err(BadHash::PlainText),
    }
}

/// Reads `$scheme$…$…`.
fn read_modular(text: &str) -> ParsedHash {
    match text.split('$').nth(1).unwrap_or_default() {
        scheme if scheme.starts_with("argon2") => argon2::read(text),
        "2a" | "2b" | "2y" => bcrypt::read(text),
        "scrypt" => scrypt::read(text),
        "5" => sha_crypt::read(text, ShaVariant::Sha256),
        "6" => sha_crypt::read(text, ShaVariant::Sha512),
        scheme if scheme.starts_with("pbkdf2") => pbkdf2::read(text),
        _ if text.matches('$').count() >= 3 => Err(BadHash::Unknown),
        _ => Err(BadHash::PlainText),
    }
}

/// Reads `{scheme}…`.
fn read_braced(text: &str) -> ParsedHash {
    let Some((scheme, rest)) = text.split_once('}') else { return Err(BadHash::PlainText) };
    match scheme.to_ascii_lowercase().as_str() {
        "{ssha" => salted::read(rest, WeakScheme::Ssha),
        "{ssha256" => salted::read(rest, WeakScheme::Ssha256),
        "{ssha512" => salted::read(rest, WeakScheme::Ssha512),
        "{pbkdf2" => pbkdf2::read_spring(rest, pbkdf2::SPRING_5_5),
        "{pbkdf2@springsecurity_v5_5" => pbkdf2::read_spring(rest, pbkdf2::SPRING_5_5),
        "{pbkdf2@springsecurity_v5_8" => pbkdf2::read_spring(rest, pbkdf2::SPRING_5_8),
        "{scrypt" | "{scrypt@springsecurity_v4_1" | "{scrypt@springsecurity_v5_8" => {
            scrypt::read_spring(rest)
        }
        _ => match scheme.strip_prefix("{webitel-md5:") {
            Some(account) => webitel::read(account, rest),
            None => Err(BadHash::Unknown),
        },
    }
}

/// The text after `prefix`, compared without regard to case; `None` if the text begins differently.
fn after<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
