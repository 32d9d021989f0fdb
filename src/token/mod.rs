//! The gateway's own tokens: signing keys, and the claims of tokens.
//!
//! `ring` has the signing keys; `key_dir` stores their files, `rotation` decides by their times,
//! `jwks` publishes the public halves. `issue` creates access and refresh tokens, `upstream` tokens
//! for upstreams. `keyset` has verifying keys, of our ring and of other issuers alike. Tokens are
//! not verified here; `authn` does that.

mod error;
mod formats;
pub mod issue;
mod jwks;
mod key_dir;
mod key_info;
mod keyset;
mod ring;
mod rotation;
mod signing;
mod upstream;
mod verifying;

pub use self::error::{BadKey, KeyError};
pub use self::formats::MAX_KID;
pub use self::issue::{
    ACCESS_TYPE, AccessGrant, GENERATION_CLAIM, REFRESH_TYPE, RefreshGrant, TokenGrant,
    access_token, new_jti, refresh_token, successor_jti,
};
pub use self::key_info::{KeyEntry, KeyEvent, KeyRingOptions, KeyState};
pub use self::keyset::{KeyRemark, KeySet};
pub use self::ring::{KeyRing, unsigned_algorithms};
pub use self::upstream::{UPSTREAM_TYPE, UpstreamTokens};
pub use self::verifying::VerifyingKey;
