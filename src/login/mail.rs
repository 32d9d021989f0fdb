//! Codes by mail: one SMTP conversation each, bounded in number and time.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::admission::{NoPlace, Places};
use crate::config;
use crate::secret::SecretString;

/// Conversations with the mail server at once: more would only make it slower.
const CONVERSATIONS: usize = 8;
/// Mails that may wait for one of them; each waits no longer than the time limit.
const WAITING: usize = 256;

/// Sends codes.
#[derive(Debug)]
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    subject: String,
    text: String,
    code_ttl: Duration,
    timeout: Duration,
    per_hour: u32,
    conversations: Semaphore,
    places: Places,
}

/// A mail could not be handed over; the login is answered 503.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    #[error("`{address}` is not an address that mail can be sent from or to")]
    Address {
        address: String,
        #[source]
        source: lettre::address::AddressError,
    },

    #[error("the mail could not be written")]
    Message(#[source] lettre::error::Error),

    #[error("the mail server cannot be used as configured")]
    Setup(#[source] lettre::transport::smtp::Error),

    #[error("the mail server did not take the mail")]
    Refused(#[source] lettre::transport::smtp::Error),

    #[error("the mail server did not take the mail within {limit:?}")]
    Timeout { limit: Duration },

    #[error("too many mails are waiting: {0}")]
    NoPlace(NoPlace),
}

impl Mailer {
    /// Prepares for the configured server; nothing is sent yet.
    pub(crate) fn new(mail: &config::Mail) -> Result<Self, MailError> {
        let tls = match mail.tls {
            config::MailTls::Starttls => Tls::Required(tls_parameters(mail)?),
            config::MailTls::Tls => Tls::Wrapper(tls_parameters(mail)?),
            config::MailTls::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
            .port(mail.port)
            .tls(tls)
            .timeout(Some(mail.timeout));
        if let (Some(username), Some(password)) = (&mail.username, &mail.password) {
            transport = transport
                .credentials(Credentials::new(username.clone(), password.expose().clone()));
        }
        Ok(Self {
            transport: transport.build(),
            from: mailbox(&mail.from)?,
            subject: mail.subject.clone(),
            text: mail.text.clone(),
            code_ttl: mail.code_ttl,
            timeout: mail.timeout,
            per_hour: mail.per_hour,
            conversations: Semaphore::new(CONVERSATIONS),
            places: Places::new(CONVERSATIONS + WAITING),
        })
    }

    /// How long a code lives.
    pub(crate) fn code_ttl(&self) -> Duration {
        self.code_ttl
    }

    /// Mails to one account in an hour.
    pub(crate) fn per_hour(&self) -> u32 {
        self.per_hour
    }

    /// Sends `code` to a user's address and returns when the server has accepted it. `origin` asks
    /// for it, and may have an eighth of those that wait.
    pub(crate) async fn send(
        &self,
        (address, name): (&str, &str),
        code: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), MailError> {
        let _place = self.places.take(origin).map_err(MailError::NoPlace)?;
        let minutes = self.code_ttl.as_secs().div_ceil(60).to_string();
        let text = self
            .text
            .replace("$minutes", &minutes)
            .replace("$user.name", name)
            .replace("$code", code.expose());
        let message = Message::builder()
            .from(self.from.clone())
            .to(mailbox(address)?)
            .subject(&self.subject)
            .message_id(Some(self.message_id()))
            .raw_header(auto_submitted())
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(MailError::Message)?;
        let sending = async {
            let _conversation = self.conversations.acquire().await;
            self.transport.send(message).await.map_err(MailError::Refused)
        };
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(MailError::Timeout { limit: self.timeout }),
        }
    }

    /// A name of one mail that nobody else gives (RFC 5322 §3.6.4). Large providers refuse mail
    /// without one, and a relay that adds its own would make the mail look like the relay's.
    fn message_id(&self) -> String {
        let domain = self.from.email.domain();
        let domain = if domain.is_ascii() { domain } else { "tollhouse.invalid" };
        format!("<{}@{domain}>", Uuid::new_v4())
    }
}

/// Tells holiday notices and other automatic answers not to answer (RFC 3834 §5).
fn auto_submitted() -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    HeaderValue::new(name, "auto-generated".to_owned())
}

fn mailbox(address: &str) -> Result<Mailbox, MailError> {
    address.parse().map_err(|source| MailError::Address { address: address.to_owned(), source })
}

fn tls_parameters(mail: &config::Mail) -> Result<TlsParameters, MailError> {
    let mut tls = TlsParameters::builder(mail.host.clone());
    if let Some(pem) = &mail.ca {
        let ca = Certificate::from_pem(pem.as_bytes()).map_err(MailError::Setup)?;
        // The operator's CA is meant instead of the public ones, not beside them.
        tls = tls
            .certificate_store(lettre::transport::smtp::client::CertificateStore::None)
            .add_root_certificate(ca);
    }
    tls.build_rustls().map_err(MailError::Setup)
}
