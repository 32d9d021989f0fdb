//! One-time codes by mail.
//!
//! Each mail is one SMTP conversation (RFC 5321), and the conversations are bounded in number and
//! time. `second_step` calls `CodeMailer::send` and waits until the mail server has accepted the
//! mail: an error there is the login's error (503). Mails are never queued on disk or sent again;
//! the user asks for a new code.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::admission::{WorkLimit, WorkLimitError};
use crate::format::error_chain;
use crate::secret::SecretString;
use crate::settings;

/// SMTP conversations at the same time. More would not make the mail server faster.
const CONVERSATIONS: usize = 8;
/// Mails that may wait for a conversation. Each waits no longer than the time limit.
const WAITING: usize = 256;

/// Sends codes by mail. Bounds: conversations in parallel, waiting mails, the share of one client
/// address, mails per account and hour (counted by the store), and the time for one mail.
#[derive(Debug)]
pub(crate) struct CodeMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    subject: String,
    text: String,
    code_ttl: Duration,
    timeout: Duration,
    per_hour: u32,
    conversations: Semaphore,
    places: WorkLimit,
}

/// The reasons why a mail was not accepted by the mail server. The login is answered with 503.
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
    NoPlace(WorkLimitError),
}

impl CodeMailer {
    /// Prepares for the configured mail server. Nothing is sent yet, so a mail server that is down
    /// does not prevent a start.
    pub(crate) fn new(mail: &settings::MailSettings) -> Result<Self, MailError> {
        let tls = match mail.tls {
            settings::MailTls::Starttls => Tls::Required(tls_parameters(mail)?),
            settings::MailTls::Tls => Tls::Wrapper(tls_parameters(mail)?),
            settings::MailTls::None => Tls::None,
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
            places: WorkLimit::new(CONVERSATIONS + WAITING),
        })
    }

    /// Connects, with TLS and credentials as for a mail, and sends none.
    pub(crate) async fn reach(&self) -> Result<String, String> {
        match self.transport.test_connection().await {
            Ok(true) => Ok("greeted".to_owned()),
            Ok(false) => Err("the mail server ended the conversation".to_owned()),
            Err(error) => Err(error_chain(&error)),
        }
    }

    /// How long a code is valid.
    pub(crate) fn code_ttl(&self) -> Duration {
        self.code_ttl
    }

    /// How many mails one account may get in an hour.
    pub(crate) fn per_hour(&self) -> u32 {
        self.per_hour
    }

    /// Sends `code` to the address of the user who is called `name`, and returns when the mail
    /// server has accepted it. `origin` is the client's address group; one group may occupy an
    /// eighth of the places, so that one client cannot keep others from getting their codes.
    pub(crate) async fn send(
        &self,
        address: &str,
        name: &str,
        code: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), MailError> {
        // The place is taken before the conversation: it bounds the mails that wait, not only those
        // being sent.
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
        // The time limit covers both waiting for a conversation and the conversation.
        let sending = async {
            let _conversation = self.conversations.acquire().await;
            self.transport.send(message).await.map_err(MailError::Refused)
        };
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(MailError::Timeout { limit: self.timeout }),
        }
    }

    /// A unique `Message-ID` (RFC 5322, section 3.6.4). Large providers refuse mail without one. If
    /// a relay added its own, the mail would seem to come from the relay.
    fn message_id(&self) -> String {
        let domain = self.from.email.domain();
        let domain = if domain.is_ascii() { domain } else { "tollhouse.invalid" };
        format!("<{}@{domain}>", Uuid::new_v4())
    }
}

/// The header `Auto-Submitted` (RFC 3834, section 5): vacation notices and other automatic replies
/// do not answer such mail.
fn auto_submitted() -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    HeaderValue::new(name, "auto-generated".to_owned())
}

fn mailbox(address: &str) -> Result<Mailbox, MailError> {
    address.parse().map_err(|source| MailError::Address { address: address.to_owned(), source })
}

fn tls_parameters(mail: &settings::MailSettings) -> Result<TlsParameters, MailError> {
    let mut tls = TlsParameters::builder(mail.host.clone());
    if let Some(pem) = &mail.ca {
        let ca = Certificate::from_pem(pem.as_bytes()).map_err(MailError::Setup)?;
        // The operator's CA replaces the public ones: otherwise any public CA could also vouch for
        // the mail server.
        tls = tls
            .certificate_store(lettre::transport::smtp::client::CertificateStore::None)
            .add_root_certificate(ca);
    }
    tls.build_rustls().map_err(MailError::Setup)
}
