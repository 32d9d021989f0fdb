//! One question to a legacy system: a login in its dialect, and the meaning of its answer.
//!
//! The connection limits, the TLS settings and the time limit are those of `outbound`. Only answers
//! that the dialect defines count as "right" or "wrong"; everything else is an error and never a
//! wrong password.

use std::sync::Arc;

use http::Uri;

use crate::dialect::client::{
    self, ClientRequest, DialectClient, LONGEST_ANSWER, LoginOutcome, ProgramCredential,
    ReceivedAnswer, RequestError, ResponseValues,
};
use crate::dialect::{Dialect, Reason};
use crate::outbound::{OutboundClient, OutboundOptions};
use crate::secret::SecretString;
use crate::settings::HttpUsers;
use crate::tls_roots::TrustError;

/// A legacy system: its address, and the client that reaches it.
#[derive(Debug)]
pub(super) struct LegacySystem {
    url: Uri,
    outbound: OutboundClient,
    dialect: Arc<Dialect>,
    client: Option<ProgramCredential>,
}

/// The system's answer to a name and a password.
#[derive(Debug)]
pub(super) enum LegacyVerdict {
    Accepted(Box<ResponseValues>),
    /// The password is wrong, or the name is unknown where the dialect has one answer for both.
    Wrong,
    Unknown,
    /// The dialect cannot carry this name or password, so the system was not asked. No user of it
    /// can have them.
    Unwritable,
}

impl LegacySystem {
    pub(super) fn new(url: &Uri, config: &HttpUsers) -> Result<Self, TrustError> {
        let outbound = OutboundClient::new(&OutboundOptions {
            ca: config.ca.as_ref().map(|(_, pem)| pem.clone()),
            timeout: config.timeout,
            largest: LONGEST_ANSWER,
            parallel: config.parallel,
        })?;
        Ok(Self {
            url: url.clone(),
            outbound,
            dialect: config.dialect.clone(),
            client: config.client.clone(),
        })
    }

    /// The dialect, as the gateway speaks it there.
    pub(super) fn speaker(&self) -> DialectClient<'_> {
        DialectClient::new(&self.dialect, self.client.as_ref())
    }

    /// The dialect.
    pub(super) fn dialect(&self) -> &Arc<Dialect> {
        &self.dialect
    }

    /// Connects, and asks nothing.
    pub(super) async fn reach(&self) -> Result<(), String> {
        self.outbound.reach(&self.url).await.map_err(|error| error.chain())
    }

    /// Sends one request of the dialect, and tells what its answer means. An error is a text for
    /// the log: there was no answer.
    pub(super) async fn exchange(&self, ask: &ClientRequest<'_>) -> Result<LoginOutcome, String> {
        let request = ask.request(&self.url).map_err(|error| error.to_string())?;
        let answer = self.outbound.send(request).await.map_err(|error| error.chain())?;
        let answer =
            ReceivedAnswer { status: answer.status, headers: &answer.headers, body: &answer.body };
        Ok(client::parse_response(&self.dialect, ask.endpoint, &answer))
    }

    /// Asks the system for a login. An error is a text for the log that says why nothing is known.
    pub(super) async fn ask(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<LegacyVerdict, String> {
        let ask = match client::login(self.speaker(), name, password) {
            Ok(ask) => ask,
            Err(RequestError::Unwritable) => return Ok(LegacyVerdict::Unwritable),
            Err(error @ (RequestError::NoEndpoint | RequestError::Incomplete(_))) => {
                return Err(error.to_string());
            }
        };
        match self.exchange(&ask).await? {
            LoginOutcome::Accepted(facts) => Ok(LegacyVerdict::Accepted(facts)),
            LoginOutcome::Refused(Reason::UnknownUser) => Ok(LegacyVerdict::Unknown),
            LoginOutcome::Refused(_) => Ok(LegacyVerdict::Wrong),
            // The gateway cannot take the second step for the user. Without it nothing proves that
            // the login would succeed.
            LoginOutcome::Pending(_) => Err("it asks for a second step".to_owned()),
            LoginOutcome::Throttled => Err("it takes no more logins now".to_owned()),
            LoginOutcome::Unexpected(cause) => Err(format!("it answered with {cause}")),
        }
    }
}
