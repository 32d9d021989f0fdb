//! One order: the account, the challenges, and the certificate that the authority issues.
//!
//! The account is made at the first order and kept. Names are proved by the challenges that the
//! caller prefers, as far as the authority offers them. The answers are there until the order has
//! ended, however it ends. Nothing is written but the account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::certificate::{CertificateFault, IssuedCertificate};
use super::challenges::{ChallengeError, Challenges, PendingChallenge};
use super::files::account_path;
use super::http_client::AcmeHttpClient;
use crate::durable_file;
use crate::runtime::BackgroundRuntime;
use crate::settings::AcmeSettings;
use crate::tls_roots::TrustError;

/// How long the authority may take to verify the names, and then to issue the certificate.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// A way to prove a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChallengeKind {
    /// TLS-ALPN-01 (RFC 8737).
    Tls,
    /// HTTP-01 (RFC 8555, section 8.3).
    Http,
}

impl ChallengeKind {
    fn offered(self) -> ChallengeType {
        match self {
            Self::Tls => ChallengeType::TlsAlpn01,
            Self::Http => ChallengeType::Http01,
        }
    }
}

/// The reason why an order did not end with a certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("the certificate authorities to trust could not be loaded")]
    Trust(#[from] TrustError),

    #[error("the authority refused a request")]
    Acme(#[from] instant_acme::Error),

    #[error("the account could not be kept in {}", path.display())]
    Account {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },

    #[error("the key of the external account is not in base64url")]
    ExternalAccount,

    #[error("the authority offers no challenge for {0} that can be answered here")]
    NoChallenge(String),

    #[error("a challenge cannot be answered")]
    Challenge(#[from] ChallengeError),

    #[error("{0}")]
    NotProved(String),

    #[error("no key or request could be made")]
    Request(#[from] rcgen::Error),

    #[error("what was issued cannot be served")]
    Issued(#[from] CertificateFault),
}

impl OrderError {
    /// True if the authority could not verify a name: another kind of challenge may succeed.
    pub(super) fn is_of_challenge(&self) -> bool {
        matches!(self, Self::NotProved(_) | Self::NoChallenge(_))
    }
}

/// The account as it is kept, with the settings that it was made or changed for.
#[derive(Deserialize, Serialize)]
struct StoredAccount {
    credentials: AccountCredentials,
    email: Option<String>,
    kid: Option<String>,
}

/// The parts that an order needs.
pub(super) struct OrderClient<'a> {
    pub(super) settings: &'a AcmeSettings,
    pub(super) state: &'a Path,
    pub(super) challenges: &'a Arc<Challenges>,
    pub(super) background: &'a BackgroundRuntime,
    pub(super) http: AcmeHttpClient,
}

impl OrderClient<'_> {
    /// Orders a certificate that replaces `last`. Names are proved by the first of `kinds` that the
    /// authority offers. Returns key and chain in PEM, and the certificate in it.
    pub(super) async fn order(
        &self,
        kinds: &[ChallengeKind],
        last: Option<&IssuedCertificate>,
    ) -> Result<(Zeroizing<String>, IssuedCertificate), OrderError> {
        let account = self.account().await?;
        let order = match self.begin(&account, last).await {
            Err(error) if is_unknown_account(&error) => {
                // An authority for tests forgets its accounts when it is restarted.
                tracing::warn!("the account is unknown to the authority: another one is made");
                self.begin(&self.new_account().await?, last).await
            }
            begun => begun,
        };
        let mut order = order?;
        let pending = self.prove(&mut order, kinds).await?;
        let proved = order.poll_ready(&POLLING).await;
        if !matches!(proved, Ok(OrderStatus::Ready)) {
            let cause = refusals(&mut order).await;
            return Err(match (cause, proved) {
                (Some(cause), _) => OrderError::NotProved(cause),
                (None, Err(error)) => error.into(),
                (None, Ok(_)) => OrderError::NotProved("the names were not verified".to_owned()),
            });
        }
        drop(pending);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.settings.domains.clone())?;
        params.distinguished_name = DistinguishedName::new();
        order.finalize_csr(params.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        let key = Zeroizing::new(key.serialize_pem());
        let pem = Zeroizing::new(format!("{}{chain}", *key));
        // An authority that answers nonsense must not take a good certificate's place.
        let certificate = IssuedCertificate::parse(pem.as_bytes(), &self.settings.domains)?;
        Ok((pem, certificate))
    }

    /// The account of the state folder, or a new one. Its address is changed if the configuration
    /// has another one.
    pub(super) async fn account(&self) -> Result<Account, OrderError> {
        let path = account_path(self.state, &self.settings.directory);
        let stored = match self.stored_account(&path).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return self.new_account().await,
            Err(source) => return Err(OrderError::Account { path, source }),
        };
        if stored.kid.as_ref() != self.kid() {
            return self.new_account().await;
        }
        let kid = stored.kid;
        let copy = copy_of(&stored.credentials)?;
        let account = Account::builder_with_http(Box::new(self.http.clone()))
            .from_credentials(stored.credentials)
            .await?;
        if stored.email != self.settings.email {
            let contact = self.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            match account.update_contacts(&contact).await {
                // The authority has forgotten the account, and knows the new one by its address.
                Err(error) if is_unknown_account(&error) => return self.new_account().await,
                updated => updated?,
            }
            let email = self.settings.email.clone();
            self.keep(StoredAccount { credentials: copy, email, kid }).await?;
        }
        Ok(account)
    }

    async fn new_account(&self) -> Result<Account, OrderError> {
        let external = match &self.settings.eab {
            Some(account) => {
                let key = account.key.expose().trim_end_matches('=');
                let key = Zeroizing::new(
                    URL_SAFE_NO_PAD.decode(key).map_err(|_| OrderError::ExternalAccount)?,
                );
                Some(ExternalAccountKey::new(account.kid.clone(), &key))
            }
            None => None,
        };
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            // The operator agrees by configuring `acme`; the sample says so.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory.to_string();
        let (account, credentials) = Account::builder_with_http(Box::new(self.http.clone()))
            .create(&wanted, directory, external.as_ref())
            .await?;
        // The account is kept before it is used: an order of an account that is lost could not be
        // replaced, and authorities limit the number of new accounts.
        let email = self.settings.email.clone();
        let kid = self.kid().cloned();
        self.keep(StoredAccount { credentials, email, kid }).await?;
        Ok(account)
    }

    fn kid(&self) -> Option<&String> {
        self.settings.eab.as_ref().map(|account| &account.kid)
    }

    fn contact(&self) -> Vec<String> {
        self.settings.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    /// `None` if there is no account, or a file that holds none.
    async fn stored_account(&self, path: &Path) -> std::io::Result<Option<StoredAccount>> {
        let file = path.to_owned();
        let read = self.background.block_on_thread(move || std::fs::read(file)).await;
        let text = match read.unwrap_or_else(|| Err(std::io::ErrorKind::Interrupted.into())) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stored = serde_json::from_slice(&text);
        if stored.is_err() {
            tracing::warn!(file = %path.display(), "the file of an account holds none: another one is made");
        }
        Ok(stored.ok())
    }

    async fn keep(&self, account: StoredAccount) -> Result<(), OrderError> {
        let path = account_path(self.state, &self.settings.directory);
        let text = serde_json::to_string(&account).map_err(instant_acme::Error::from)?;
        write(self.background, path.clone(), Zeroizing::new(text))
            .await
            .map_err(|source| OrderError::Account { path, source })
    }

    /// Places the order. It names the certificate that it replaces, if the authority knows of that
    /// (RFC 9773, section 5).
    async fn begin(
        &self,
        account: &Account,
        last: Option<&IssuedCertificate>,
    ) -> Result<Order, instant_acme::Error> {
        let names: Vec<Identifier> =
            self.settings.domains.iter().cloned().map(Identifier::Dns).collect();
        let replaced = last.and_then(|last| CertificateIdentifier::try_from(&last.leaf).ok());
        if let Some(replaced) = replaced {
            let order = account.new_order(&NewOrder::new(&names).replaces(replaced)).await;
            match order {
                Err(error) if is_of_replacing(&error) => {
                    tracing::debug!(%error, "ordered without naming the certificate's predecessor");
                }
                order => return order,
            }
        }
        account.new_order(&NewOrder::new(&names)).await
    }

    /// Has the authority verify each name that it has not verified lately. The answers are there
    /// until the result is dropped.
    async fn prove(
        &self,
        order: &mut Order,
        kinds: &[ChallengeKind],
    ) -> Result<Vec<PendingChallenge>, OrderError> {
        let mut pending = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let is_offered = |kind: &&ChallengeKind| {
                authorization.challenges.iter().any(|one| one.r#type == kind.offered())
            };
            let kind = kinds.iter().find(is_offered).copied();
            let challenge = kind.and_then(|kind| authorization.challenge(kind.offered()));
            let (Some(kind), Some(mut challenge)) = (kind, challenge) else {
                return Err(OrderError::NoChallenge(name));
            };
            let answer = challenge.key_authorization();
            // The answer is there before the authority is notified: it may look at once.
            pending.push(match kind {
                ChallengeKind::Http => {
                    self.challenges.answer_http(&challenge.token, answer.as_str())
                }
                ChallengeKind::Tls => {
                    let digest = answer.digest();
                    let digest =
                        digest.as_ref().try_into().map_err(|_| instant_acme::Error::Crypto)?;
                    self.challenges.answer_tls(&name, digest)?
                }
            });
            challenge.set_ready().await?;
        }
        Ok(pending)
    }
}

/// Writes a file of the state folder and creates its folder.
pub(super) async fn write(
    background: &BackgroundRuntime,
    path: PathBuf,
    text: Zeroizing<String>,
) -> std::io::Result<()> {
    let writing = move || {
        if let Some(folder) = path.parent() {
            durable_file::create_folder(folder)?;
        }
        durable_file::write(&path, text.as_bytes(), 0o600)
    };
    let written = background.block_on_thread(writing).await;
    written.unwrap_or_else(|| Err(std::io::ErrorKind::Interrupted.into()))
}

/// The library's credentials cannot be cloned, and are consumed when an account is opened.
fn copy_of(credentials: &AccountCredentials) -> Result<AccountCredentials, instant_acme::Error> {
    let text = Zeroizing::new(serde_json::to_string(credentials)?);
    Ok(serde_json::from_str(&text)?)
}

/// The reasons why the authority could not verify names, in its words.
async fn refusals(order: &mut Order) -> Option<String> {
    let mut causes = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let name = state.identifier().to_string();
        for challenge in &state.challenges {
            if let Some(problem) = &challenge.error {
                let detail = problem.detail.as_deref().or(problem.r#type.as_deref());
                causes.push(format!("{name}: {}", detail.unwrap_or("no cause is given")));
            }
        }
    }
    (!causes.is_empty()).then(|| format!("the authority could not verify {}", causes.join("; ")))
}

/// The name of a problem of ACME (RFC 8555, section 6.7); empty for another error.
fn problem_name(error: &instant_acme::Error) -> &str {
    let instant_acme::Error::Api(Problem { r#type: Some(kind), .. }) = error else { return "" };
    kind.rsplit(':').next().unwrap_or_default()
}

fn is_unknown_account(error: &instant_acme::Error) -> bool {
    problem_name(error) == "accountDoesNotExist"
}

/// True if an order may succeed when it does not name the certificate that it replaces: the
/// authority does not know that field, or the certificate, or has had it replaced already.
fn is_of_replacing(error: &instant_acme::Error) -> bool {
    use instant_acme::Error;
    match error {
        Error::Unsupported(_) => true,
        Error::Api(_) => !matches!(problem_name(error), "rateLimited" | "accountDoesNotExist"),
        // The library checks that the field comes back, which has no variant of its own.
        Error::Other(cause) => cause.to_string().starts_with("replaces field mismatch"),
        _ => false,
    }
}
