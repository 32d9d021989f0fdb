//! The gateway's own tokens: signing keys, and the claims of tokens.
//!
//! `ring` has the signing keys and `ring_state` changes them; `key_storage` and `key_dir` store their
//! files, `rotation` decides by their times, `jwks` publishes the public halves. `signing_keys` has
//! what gateways with a shared store do together (`shared_keys`, `shared_state`, `key_look`), and
//! `key_transfer` moves keys along with a store. `issue` creates access and refresh tokens, `opaque`
//! random ones with the same claims (`session_facts`), `upstream` tokens for upstreams; `minting` signs
//! with an upstream's own key. `keyset` has verifying keys, of our ring and of other issuers alike.
//! Tokens are not verified here; `authn` does that.

mod error;
mod formats;
pub mod issue;
mod jwks;
mod key_dir;
mod key_info;
mod key_look;
mod key_storage;
mod key_transfer;
mod keyset;
mod minting;
mod opaque;
mod ring;
mod ring_state;
mod rotation;
mod session_facts;
mod shared_keys;
mod shared_state;
mod signing;
mod signing_keys;
mod upstream;
mod verifying;

pub use self::error::{BadKey, KeyError};
pub use self::formats::MAX_KID;
pub use self::issue::{
    ACCESS_TYPE, AccessGrant, GENERATION_CLAIM, PROGRAM_CLAIM, REFRESH_TYPE, RefreshGrant,
    TokenGrant, access_token, csrf_token, new_jti, refresh_token, successor_jti,
};
pub use self::key_info::{KeyEntry, KeyEvent, KeyPlace, KeyRingOptions, KeyState};
pub use self::key_look::KeyLook;
pub use self::key_transfer::{export_keys, import_keys};
pub use self::keyset::{KeyRemark, KeySet};
pub use self::minting::MintingKey;
pub use self::opaque::{new_opaque_token, opaque_claims, opaque_token_id};
pub use self::ring::KeyRing;
pub use self::ring_state::unsigned_algorithms;
pub use self::session_facts::{dialect_claims, login_facts, rendered_claims, session_facts};
pub use self::signing_keys::SigningKeys;
pub use self::upstream::{UPSTREAM_TYPE, UpstreamTokens};
pub use self::verifying::VerifyingKey;
