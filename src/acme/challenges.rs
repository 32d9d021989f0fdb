//! The answers to challenges that are pending, by which an authority verifies that a name leads to
//! this gateway.
//!
//! An answer is here from the moment before the authority is notified until the order has ended,
//! and only then do listeners and pipeline behave differently. HTTP-01 (RFC 8555, section 8.3) is a
//! text at a path that cannot be guessed. TLS-ALPN-01 (RFC 8737) is a handshake with a certificate
//! made for it; it has TLS settings of its own, so that no client reaches anything by it, and so
//! that it works on a listener that requires certificates of its clients.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

/// The protocol of the handshake (RFC 8737, section 6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";
/// Where HTTP-01 is asked (RFC 8555, section 8.3).
const HTTP_PATH: &str = "/.well-known/acme-challenge/";

/// The reason why a challenge cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    #[error("no certificate for the challenge could be made")]
    Certificate(#[from] rcgen::Error),

    #[error("the certificate for the challenge cannot be served")]
    Tls(#[from] rustls::Error),
}

/// The answers to all pending challenges of a gateway.
#[derive(Default)]
pub struct Challenges {
    /// The number of answers in both maps. Requests look at it before they take a lock.
    pending: AtomicUsize,
    /// Key authorizations by token.
    http: RwLock<HashMap<String, String>>,
    /// Certificates by name.
    tls: Arc<ChallengeCertificates>,
    /// The TLS settings of a challenge's handshake, while one is pending.
    tls_config: RwLock<Option<Arc<ServerConfig>>>,
    /// Held by the order that is under way.
    turn: AsyncMutex<()>,
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("pending", &self.pending).finish_non_exhaustive()
    }
}

/// Takes an answer back when it is dropped.
#[derive(Debug)]
pub(super) struct PendingChallenge {
    challenges: Arc<Challenges>,
    key: ChallengeKey,
}

#[derive(Clone, Debug)]
enum ChallengeKey {
    Token(String),
    Name(String),
}

impl Challenges {
    /// The answer to a plain request for this path; `None` if the path asks for no challenge that is
    /// pending. The path is compared as it was received: a token has no character that is escaped.
    pub(crate) fn http_answer(&self, path: &str) -> Option<String> {
        if self.pending.load(Ordering::Acquire) == 0 {
            return None;
        }
        let token = path.strip_prefix(HTTP_PATH)?;
        self.http.read().get(token).cloned()
    }

    /// The TLS settings of a challenge's handshake; `None` if no challenge over TLS is pending.
    pub(crate) fn tls_config(&self) -> Option<Arc<ServerConfig>> {
        if self.pending.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.tls_config.read().clone()
    }

    /// Waits until no other order is under way.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Answers HTTP-01 for `token` until the result is dropped.
    pub(super) fn answer_http(
        self: &Arc<Self>,
        token: &str,
        key_authorization: &str,
    ) -> PendingChallenge {
        self.http.write().insert(token.to_owned(), key_authorization.to_owned());
        self.pending.fetch_add(1, Ordering::Release);
        PendingChallenge { challenges: self.clone(), key: ChallengeKey::Token(token.to_owned()) }
    }

    /// Answers TLS-ALPN-01 for `domain` until the result is dropped. `digest` is that of the key
    /// authorization.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub(super) fn answer_tls(
        self: &Arc<Self>,
        domain: &str,
        digest: &[u8; 32],
    ) -> Result<PendingChallenge, ChallengeError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = Arc::new(challenge_certificate(domain, digest, &provider)?);
        let config = server_config(provider, self.tls.clone())?;
        self.tls.0.write().insert(domain.to_owned(), certificate);
        *self.tls_config.write() = Some(Arc::new(config));
        self.pending.fetch_add(1, Ordering::Release);
        Ok(PendingChallenge {
            challenges: self.clone(),
            key: ChallengeKey::Name(domain.to_owned()),
        })
    }
}

impl Drop for PendingChallenge {
    fn drop(&mut self) {
        let challenges = &self.challenges;
        challenges.pending.fetch_sub(1, Ordering::Release);
        match &self.key {
            ChallengeKey::Token(token) => {
                challenges.http.write().remove(token);
            }
            ChallengeKey::Name(name) => {
                let mut certificates = challenges.tls.0.write();
                certificates.remove(name);
                // The lock on the certificates is held meanwhile: if another challenge began
                // between the two steps, its settings would be removed here.
                if certificates.is_empty() {
                    *challenges.tls_config.write() = None;
                }
            }
        }
    }
}

/// True if the client offers the protocol of the challenge and no other, as RFC 8737 (section 3)
/// demands of an authority. A client that also offers another protocol wants to send requests.
pub(crate) fn is_challenge_only(hello: &ClientHello<'_>) -> bool {
    let Some(mut offered) = hello.alpn() else { return false };
    offered.next() == Some(ACME_TLS) && offered.next().is_none()
}

/// True if a handshake has agreed on the protocol of the challenge, so that nothing follows it.
pub(crate) fn is_challenge(protocol: Option<&[u8]>) -> bool {
    protocol == Some(ACME_TLS)
}

/// Certificates of pending challenges by name.
#[derive(Debug, Default)]
struct ChallengeCertificates(RwLock<HashMap<String, Arc<CertifiedKey>>>);

impl ResolvesServerCert for ChallengeCertificates {
    /// No certificate for any other name: the handshake then fails.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.read().get(&name).cloned()
    }
}

/// TLS settings that agree on the challenge's protocol alone. Nothing can be resumed.
fn server_config(
    provider: Arc<CryptoProvider>,
    certificates: Arc<ChallengeCertificates>,
) -> Result<ServerConfig, ChallengeError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The self-signed certificate of RFC 8737 (section 3): the name, and the digest in a critical
/// extension.
fn challenge_certificate(
    domain: &str,
    digest: &[u8; 32],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, ChallengeError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider.key_provider.load_private_key(key)?;
    // The chain and key were made together. `CertifiedKey::from_der` would check that once more, and
    // refuse the certificate for its critical extension, which it does not know.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_for_its_exact_token_while_it_is_pending() {
        let challenges = Arc::new(Challenges::default());
        let path = "/.well-known/acme-challenge/abc_-1";
        let pending = challenges.answer_http("abc_-1", "abc_-1.thumb");

        assert_eq!(challenges.http_answer(path).as_deref(), Some("abc_-1.thumb"));
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/abc_-1/",
            "/.well-known/acme-challenge/abc_-2",
            "/.well-known/acme-challenge/abc%5f-1",
            "/.well-known//acme-challenge/abc_-1",
            "/abc_-1",
        ] {
            assert_eq!(challenges.http_answer(other), None, "{other}");
        }

        drop(pending);
        assert_eq!(challenges.http_answer(path), None);
    }

    #[test]
    fn tls_settings_exist_as_long_as_one_challenge_is_pending() {
        let challenges = Arc::new(Challenges::default());
        let first = challenges.answer_tls("a.test", &[7; 32]).unwrap();
        let second = challenges.answer_tls("b.test", &[7; 32]).unwrap();

        drop(first);
        assert!(challenges.tls_config().is_some());
        drop(second);
        assert!(challenges.tls_config().is_none());
    }
}
