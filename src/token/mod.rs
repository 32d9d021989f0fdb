//! Our own tokens: the keys that sign them, and what is in them.
//!
//! `ring` holds the signing keys (`folder` keeps them, `rotation` decides by their times, `jwks`
//! publishes them); `issue` writes access and refresh tokens. `keyset` is the public half, of our
//! ring and of other issuers alike. Verification is `authn`'s.

mod entry;
mod error;
mod folder;
mod formats;
pub mod issue;
mod jwks;
mod keyset;
mod ring;
mod rotation;
mod signing;
mod upstream;
mod verifying;

pub use self::entry::{KeyEntry, KeyEvent, KeyRingOptions, KeyState};
pub use self::error::{BadKey, KeyError};
pub use self::formats::MAX_KID;
pub use self::issue::{
    ACCESS_TYPE, AccessGrant, GENERATION_CLAIM, Grant, REFRESH_TYPE, RefreshGrant, access_token,
    new_jti, refresh_token, successor_jti,
};
pub use self::keyset::{KeyRemark, KeySet};
pub use self::ring::{KeyRing, unsigned_algorithms};
pub use self::upstream::{UPSTREAM_TYPE, UpstreamTokens};
pub use self::verifying::VerifyingKey;
