//! Who is calling: from the credential in a request to a proved identity.
//!
//! `presented` takes the one credential out of a request, which `api_key` and `certificate` prove
//! where it is no token. Of tokens, `credential` reads the one, `jws` takes it apart, `own` and
//! `foreign` say by what rules it is taken, `verified` whether it may be used now, `cache`
//! remembers, `verifier` puts these in order; `trade` proves what a login takes for ours. Keys that
//! have to be fetched are `remote`, which asks a `provider`. Tokens that only others understand are
//! `asked` about by `introspect` or `webitel`, once however many wait (`flights`), and `verdicts`
//! remembers. Nothing here reads a clock or permits anything (that is `authz`), and only an
//! `inquiry` waits: in the back room, for whoever issued the token.

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
pub use self::remote::{KeyInquiry, RemoteIssuer};
pub use self::renewals::Renewal;
pub use self::verified::{Refusal, Verified};
pub use self::verifier::{Presenter, RefreshFacts, Verifier, VerifierError, VerifierOptions};

use crate::json;
