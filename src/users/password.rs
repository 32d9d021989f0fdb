//! Password hashes as they are stored: reading, checking and making them.
//!
//! Argon2id is what we make; every Argon2 variant and bcrypt (`$2a$ $2b$ $2y$`) can be checked.
//! A stored hash says itself how much it costs to check, so that cost is bounded when it is
//! read: a line in a users file must not be able to take a gigabyte at every login. A password is
//! hashed as typed and never cut. Nothing here waits or spawns; `pool` runs it.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};

use crate::secret;

/// Memory in KiB, passes and lanes of the hashes we make (OWASP's first choice for Argon2id).
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// More memory than this for one login would let a handful of them exhaust a small machine.
const MAX_MEMORY: u32 = 256 * 1024;
/// Memory times passes, about a second of work.
const MAX_ARGON2_WORK: u64 = 1024 * 1024;
const MAX_LANES: u32 = 16;
/// Shorter salts and outputs are a truncated or home-made hash.
const MIN_SALT: usize = 8;
const MIN_OUTPUT: usize = 16;
/// About two seconds of work.
const MAX_BCRYPT_COST: u32 = 15;
/// bcrypt reads no further; a longer password is refused rather than cut.
const BCRYPT_MAX_PASSWORD: usize = 72;
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

/// What checking a hash costs; two hashes of equal cost take equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// Two to the power of this many rounds.
    Bcrypt { cost: u32 },
    /// Memory in KiB, passes over it, and lanes.
    Argon2 { memory: u32, passes: u32, lanes: u32 },
}

impl Default for Cost {
    /// The cost of the hashes we make.
    fn default() -> Self {
        Self::Argon2 { memory: MEMORY, passes: PASSES, lanes: LANES }
    }
}

impl Cost {
    /// A hash of this cost that no password has: checking it stands in for the hash of a user
    /// who does not exist.
    pub fn dummy(self) -> StoredHash {
        let salt = secret::random::<16>();
        let text = match self {
            Self::Bcrypt { cost } => format!(
                "$2b${cost:02}${}{}",
                BCRYPT_BASE64.encode(salt),
                BCRYPT_BASE64.encode(secret::random::<23>())
            ),
            Self::Argon2 { memory, passes, lanes } => format!(
                "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
                STANDARD_NO_PAD.encode(salt),
                STANDARD_NO_PAD.encode(secret::random::<32>())
            ),
        };
        StoredHash { text, cost: self, outdated: false }
    }
}

/// A password hash that was read and found sound. Prints without the hash itself.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    text: String,
    cost: Cost,
    outdated: bool,
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// Why a stored password cannot be used. No message repeats what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    #[error("is empty; make a hash with `tollhouse hash`")]
    Empty,

    #[error("is a password in plain text, not a hash; make one with `tollhouse hash`")]
    PlainText,

    #[error("is a `{scheme}` hash, which is too weak to take; make one with `tollhouse hash`")]
    Weak { scheme: &'static str },

    #[error("is a hash of a kind we do not know; make one with `tollhouse hash`")]
    Unknown,

    #[error("is a damaged {scheme} hash; make a new one with `tollhouse hash`")]
    Malformed { scheme: &'static str },

    #[error("costs too much to check at every login: {limit}")]
    TooCostly { limit: &'static str },
}

/// A hash could not be computed: not a statement about the password.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not hash a password: {cause}")]
pub struct HashError {
    cause: String,
}

impl HashError {
    fn new(cause: impl fmt::Display) -> Self {
        Self { cause: cause.to_string() }
    }
}

/// Schemes that are known and refused.
const WEAK: &[(&str, &str)] = &[
    ("$apr1$", "apr1"),
    ("$1$", "md5-crypt"),
    ("$5$", "sha256-crypt"),
    ("$6$", "sha512-crypt"),
    ("$2x$", "bcrypt $2x$"),
    ("$P$", "phpass"),
    ("$H$", "phpass"),
    ("{SHA}", "{SHA}"),
    ("{SSHA}", "{SSHA}"),
    ("{MD5}", "{MD5}"),
    ("pbkdf2_sha", "pbkdf2"),
];

impl StoredHash {
    /// Reads a PHC string of Argon2 or a bcrypt hash.
    ///
    /// # Errors
    /// When it is none, or asks for more work than a login may cost.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        if text.is_empty() {
            return Err(BadHash::Empty);
        }
        if let Some((_, scheme)) = WEAK.iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Err(BadHash::Weak { scheme });
        }
        if text.starts_with("$argon2") {
            return parse_argon2(text);
        }
        if text.starts_with("$2a$") || text.starts_with("$2b$") || text.starts_with("$2y$") {
            return parse_bcrypt(text);
        }
        let hashlike = text.starts_with('$') && text.matches('$').count() >= 3;
        Err(if hashlike { BadHash::Unknown } else { BadHash::PlainText })
    }

    /// The hash as written. For the file it came from, never for a log.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a check of this hash costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// True if it is weaker than the hashes we make today.
    pub fn needs_rehash(&self) -> bool {
        self.outdated
    }

    /// True if this is the hash of `password`. Blocks for as long as the hash costs.
    ///
    /// # Errors
    /// When it could not be found out, for example for want of memory.
    pub fn verify(&self, password: &str) -> Result<bool, HashError> {
        match self.cost {
            Cost::Bcrypt { .. } => verify_bcrypt(password, &self.text),
            Cost::Argon2 { .. } => verify_argon2(password, &self.text),
        }
    }
}

/// A new Argon2id hash of `password` with a random salt. Blocks for as long as it costs.
///
/// # Errors
/// When it could not be computed, for example for want of memory.
pub fn hash(password: &str) -> Result<StoredHash, HashError> {
    let params = Params::new(MEMORY, PASSES, LANES, None).map_err(HashError::new)?;
    let text = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &secret::random::<16>())
        .map_err(HashError::new)?
        .to_string();
    Ok(StoredHash { text, cost: Cost::default(), outdated: false })
}

/// `StoredHash::verify` as a function.
///
/// # Errors
/// As there.
pub fn verify(password: &str, stored: &StoredHash) -> Result<bool, HashError> {
    stored.verify(password)
}

/// `StoredHash::needs_rehash` as a function.
pub fn needs_rehash(stored: &StoredHash) -> bool {
    stored.needs_rehash()
}

fn parse_argon2(text: &str) -> Result<StoredHash, BadHash> {
    const MALFORMED: BadHash = BadHash::Malformed { scheme: "argon2" };
    let hash = PasswordHash::new(text).map_err(|_| MALFORMED)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| MALFORMED)?;
    // Without a version the reference means 1.0 and this library 1.3: refuse to guess.
    let version = hash.version.and_then(|v| Version::try_from(v).ok()).ok_or(MALFORMED)?;
    let params = Params::try_from(&hash).map_err(|_| MALFORMED)?;
    let salt_fits = hash.salt.as_ref().is_some_and(|salt| salt.len() >= MIN_SALT);
    let output = hash.hash.as_ref().map_or(0, |output| output.len());
    if !salt_fits || output < MIN_OUTPUT || !params.keyid().is_empty() || !params.data().is_empty()
    {
        return Err(MALFORMED);
    }
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let work = u64::from(memory) * u64::from(passes);
    if memory > MAX_MEMORY {
        return Err(BadHash::TooCostly { limit: "m is at most 262144 (256 MiB)" });
    }
    if work > MAX_ARGON2_WORK {
        return Err(BadHash::TooCostly { limit: "m times t is at most 1048576 (1 GiB)" });
    }
    if lanes > MAX_LANES {
        return Err(BadHash::TooCostly { limit: "p is at most 16" });
    }
    // More memory makes up for fewer passes, up to a point; half our memory is that point.
    let weaker = memory < MEMORY / 2 || work < u64::from(MEMORY) * u64::from(PASSES);
    let outdated = weaker || algorithm != Algorithm::Argon2id || version != Version::V0x13;
    let cost = Cost::Argon2 { memory, passes, lanes };
    Ok(StoredHash { text: text.to_owned(), cost, outdated })
}

fn parse_bcrypt(text: &str) -> Result<StoredHash, BadHash> {
    const MALFORMED: BadHash = BadHash::Malformed { scheme: "bcrypt" };
    let parts: bcrypt::HashParts = text.parse().map_err(|_| MALFORMED)?;
    let cost = parts.get_cost();
    if cost > MAX_BCRYPT_COST {
        return Err(BadHash::TooCostly { limit: "bcrypt's cost is at most 15" });
    }
    if cost < 4 {
        return Err(MALFORMED);
    }
    Ok(StoredHash { text: text.to_owned(), cost: Cost::Bcrypt { cost }, outdated: true })
}

fn verify_argon2(password: &str, text: &str) -> Result<bool, HashError> {
    let hash = PasswordHash::new(text).map_err(HashError::new)?;
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(HashError::new(error)),
    }
}

fn verify_bcrypt(password: &str, text: &str) -> Result<bool, HashError> {
    let bytes = password.as_bytes();
    // bcrypt would cut a longer password, and repeats a key that holds NUL so that "a" and
    // "a\0a" are one: such a password is never right, after the same work as any other.
    let readable = bytes.len() <= BCRYPT_MAX_PASSWORD && !bytes.contains(&0);
    let head = bytes.get(..BCRYPT_MAX_PASSWORD).unwrap_or(bytes);
    let matches = bcrypt::verify(head, text).map_err(HashError::new)?;
    Ok(readable && matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_hash_verifies_its_password_only() {
        let stored = hash("correct horse").unwrap();

        assert!(stored.verify("correct horse").unwrap());
        assert!(!stored.verify("correct horsE").unwrap());
        assert!(!StoredHash::parse(stored.as_str()).unwrap().needs_rehash());
    }

    #[test]
    fn a_dummy_reads_back_with_its_cost_and_matches_nothing() {
        let argon2 = Cost::Argon2 { memory: 64, passes: 1, lanes: 2 };
        for cost in [Cost::Bcrypt { cost: 4 }, argon2] {
            let dummy = cost.dummy();
            assert_eq!(StoredHash::parse(dummy.as_str()).unwrap().cost(), cost);
            assert!(!dummy.verify("").unwrap());
        }
    }

    #[test]
    fn bcrypt_never_cuts_a_password() {
        let long = "x".repeat(72);
        let stored = StoredHash::parse(&bcrypt::hash(&long, 4).unwrap()).unwrap();

        assert!(stored.verify(&long).unwrap(), "72 bytes are read whole");
        assert!(!stored.verify(&format!("{long}y")).unwrap(), "73 are not");
    }

    #[test]
    fn bcrypt_does_not_take_a_repeated_key_for_the_password() {
        let stored = StoredHash::parse(&bcrypt::hash("a", 4).unwrap()).unwrap();

        assert!(stored.verify("a").unwrap());
        assert!(!stored.verify("a\0a").unwrap());
    }

    #[test]
    fn hashes_that_cannot_be_used_are_told_apart() {
        const SALT: &str = "c29tZXNhbHQxMjM0NTY";
        const OUT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let argon2 = |params: &str| format!("$argon2id$v=19${params}${SALT}${OUT}");
        let malformed = BadHash::Malformed { scheme: "argon2" };
        let memory = BadHash::TooCostly { limit: "m is at most 262144 (256 MiB)" };
        let work = BadHash::TooCostly { limit: "m times t is at most 1048576 (1 GiB)" };
        for (text, expected, why) in [
            (String::new(), BadHash::Empty, "empty"),
            ("hunter2".into(), BadHash::PlainText, "a password"),
            ("$ecret$".into(), BadHash::PlainText, "a password with dollars"),
            ("$apr1$x$y".into(), BadHash::Weak { scheme: "apr1" }, "apr1"),
            ("$scrypt$ln=1$a$b".into(), BadHash::Unknown, "another scheme"),
            (argon2("m=4294967295,t=1,p=1"), memory, "4 TiB"),
            (argon2("m=65536,t=17,p=1"), work, "too many passes"),
            (argon2("m=19456,t=2,p=1,data=AAAA"), malformed, "associated data"),
            (format!("$argon2id$m=8,t=1,p=1${SALT}${OUT}"), malformed, "no version"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ".into(), malformed, "no output"),
            ("$argon2id$é".into(), malformed, "not ASCII"),
            (format!("$2b$10${}é", "a".repeat(51)), BadHash::Malformed { scheme: "bcrypt" }, "é"),
        ] {
            assert_eq!(StoredHash::parse(&text), Err(expected), "{why}");
        }
    }

    #[test]
    fn weaker_hashes_are_marked_for_replacement() {
        const REST: &str = "c29tZXNhbHQxMjM0NTY$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (head, outdated, why) in [
            ("$argon2id$v=19$m=19456,t=2,p=1", false, "ours"),
            ("$argon2id$v=19$m=65536,t=1,p=4", false, "more memory instead of passes"),
            ("$argon2id$v=19$m=8192,t=5,p=1", true, "little memory"),
            ("$argon2id$v=19$m=19456,t=1,p=1", true, "one pass"),
            ("$argon2i$v=19$m=65536,t=3,p=1", true, "another variant"),
            ("$argon2id$v=16$m=65536,t=3,p=1", true, "the old version"),
        ] {
            let stored = StoredHash::parse(&format!("{head}${REST}")).unwrap();
            assert_eq!(stored.needs_rehash(), outdated, "{why}");
        }
    }
}
