//! Authentication: from the credential in a request to a verified identity.
//!
//! `request_credential` extracts the one credential of a request, `call_carriers` the token that is
//! where a login or a legacy system has it (`token_place`, `carrier_value`). `api_key`, `signature`
//! (with `ecdsa_form` and `seen_signatures`; `known_key` is what both know of a key) and `certificate`
//! verify the kinds that are not tokens; `forwarded_certificate` verifies certificates that a balancer
//! tells. For tokens, `credential` extracts, `jws` parses,
//! `local_issuer` and `external_issuer` apply the rules of the issuer (`issuer_rules`), `verified`
//! checks whether the token may be used now, and `verified_cache` remembers; `verifier` puts these
//! steps in order.
//! `session_tokens` looks the gateway's own opaque tokens up in the session store, and `own_tokens`
//! verifies what is presented at an endpoint of a login.
//! `exchange` verifies tokens that a login exchanges for ours.
//!
//! `jwks_cache` fetches keys through a `discovery`. `opaque` verifies tokens remotely by
//! `introspect` or `legacy_sessions`, with single flight (`single_flight`) and remembered answers
//! (`lookup_cache`). Nothing here reads a clock or decides permissions (that is `authz`). Only a
//! `remote_lookup` waits, on the background runtime.

mod api_key;
mod call_carriers;
mod carrier_value;
mod certificate;
mod claimed_issuer;
mod claims;
mod credential;
mod discovery;
mod ecdsa_form;
mod exchange;
mod external_issuer;
mod forwarded_certificate;
mod inspect;
mod introspect;
mod issuer_rules;
mod jwks_cache;
pub mod jws;
mod known_key;
mod legacy_sessions;
mod local_issuer;
mod lookup_cache;
mod opaque;
mod own_tokens;
mod reach;
mod remote_lookup;
mod renewals;
mod request_credential;
mod seen_signatures;
pub(crate) mod session_fact;
mod session_tokens;
mod signature;
mod token_place;
mod token_uses;
mod verified;
mod verified_cache;
mod verifier;

pub use self::api_key::{ApiKeyVerifier, new_key};
pub use self::call_carriers::{CallCarriers, CarriedToken};
pub use self::certificate::CertificateVerifier;
pub use self::credential::{
    AcceptedKinds, CredentialError, TokenCredential, X_ACCESS_TOKEN, X_KEY,
};
pub use self::forwarded_certificate::{AuthorityError, ForwardedCertificates};
pub use self::inspect::{ClaimedFacts, InspectedToken, claimed_facts};
pub use self::issuer_rules::IssuerError;
pub use self::jwks_cache::{KeyRefresh, RemoteIssuer};
pub use self::known_key::key_digest;
pub use self::opaque::TokenLookup;
pub use self::own_tokens::{OwnEndpoint, RefreshFacts};
pub use self::reach::reach;
pub use self::remote_lookup::{RemoteLookup, VerifyError};
pub use self::renewals::TokenRenewal;
pub use self::request_credential::RequestCredential;
pub use self::seen_signatures::{SeenSignatures, SignedOnce};
pub use self::session_tokens::SessionLookup;
pub use self::signature::{PendingSignature, RequestSignature, SignatureVerifier, SignedRequest};
pub use self::token_place::{AcceptedIssuers, TokenPlace};
pub use self::token_uses::TokenExtension;
pub use self::verified::{TokenBinding, TokenError, VerifiedCredential};
pub use self::verifier::{RequestClient, Verifier, VerifierError, VerifierOptions};

use crate::strict_json;
