//! Authentication: from the credential in a request to a verified identity.
//!
//! `presented` extracts the one credential of a request. `api_key` and `certificate` verify the
//! kinds that are not tokens. For tokens, `credential` extracts, `jws` parses, `own` and `foreign`
//! apply the rules of the issuer, `verified` checks whether the token may be used now, and `cache`
//! remembers; `verifier` puts these steps in order. `trade` verifies tokens that a login exchanges
//! for ours.
//!
//! `remote` fetches keys through a `provider`. `asked` verifies tokens remotely by `introspect` or
//! `webitel`, with single flight (`flights`) and remembered answers (`verdicts`). Nothing here
//! reads a clock or decides permissions (that is `authz`). Only an `inquiry` waits, on the
//! background runtime.

mod api_key;
mod asked;
mod cache;
mod certificate;
mod claims;
mod credential;
mod flights;
mod foreign;
mod inquiry;
mod introspect;
pub mod jws;
mod named;
mod own;
mod own_token;
mod presented;
mod provider;
mod reach;
mod remote;
mod renewals;
mod trade;
mod verdicts;
mod verified;
mod verifier;
mod webitel;

pub use self::api_key::{ApiKeys, key_digest, new_key};
pub use self::asked::TokenInquiry;
pub use self::certificate::Certificates;
pub use self::credential::{Accept, Credential, CredentialError, X_ACCESS_TOKEN, X_KEY};
pub use self::foreign::IssuerError;
pub use self::inquiry::{Inquiry, Unproved};
pub use self::own_token::OwnToken;
pub use self::presented::Presented;
pub use self::reach::reach;
pub use self::remote::{KeyInquiry, RemoteIssuer};
pub use self::renewals::Renewal;
pub use self::verified::{Refusal, Verified};
pub use self::verifier::{Presenter, RefreshFacts, Verifier, VerifierError, VerifierOptions};

use crate::json;
