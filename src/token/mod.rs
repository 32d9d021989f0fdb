//! Our own tokens: the keys that sign them, and what is in them.
//!
//! `keys` holds the key ring (made, loaded, rotated, published as a JWKS); `issue` writes access
//! and refresh tokens. Verification is `authn`'s, by the public half of the ring.
