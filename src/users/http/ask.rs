//! One call: a login asked of a legacy system, and what it makes of it.

use http::Uri;

use crate::config::HttpUsers;
use crate::dialect::speak::{self, CannotAsk, Heard, HeardFacts, LONGEST_ANSWER};
use crate::dialect::{Dialect, Reason};
use crate::outbound::{Outbound, OutboundOptions};
use crate::secret::SecretString;
use crate::trust::TrustError;

/// A legacy system and the way to it.
#[derive(Debug)]
pub(super) struct Legacy {
    url: Uri,
    outbound: Outbound,
}

/// What the system says of a name and a password.
#[derive(Debug)]
pub(super) enum Told {
    Accepted(Box<HeardFacts>),
    /// Or unknown, where its dialect has one answer for both.
    Wrong,
    Unknown,
    /// Nothing: it cannot even be asked. Nobody there has such a name or password.
    Unwritable,
}

impl Legacy {
    pub(super) fn new(url: &Uri, config: &HttpUsers) -> Result<Self, TrustError> {
        let outbound = Outbound::new(&OutboundOptions {
            ca: config.ca.as_ref().map(|(_, pem)| pem.clone()),
            timeout: config.timeout,
            largest: LONGEST_ANSWER,
            parallel: config.parallel,
        })?;
        Ok(Self { url: url.clone(), outbound })
    }

    /// Asks for a login; the error says for the log why nothing was found out.
    pub(super) async fn ask(
        &self,
        dialect: &Dialect,
        name: &str,
        password: &SecretString,
    ) -> Result<Told, String> {
        let ask = match speak::login(dialect, name, password) {
            Ok(ask) => ask,
            Err(CannotAsk::Unwritable) => return Ok(Told::Unwritable),
            Err(error @ CannotAsk::NoEndpoint) => return Err(error.to_string()),
        };
        let request = ask.request(&self.url).map_err(|error| error.to_string())?;
        let answer = self.outbound.send(request).await.map_err(|error| error.chain())?;
        match speak::hear(dialect, ask.endpoint, answer.status, &answer.body) {
            Heard::Accepted(facts) => Ok(Told::Accepted(facts)),
            Heard::Refused(Reason::UnknownUser) => Ok(Told::Unknown),
            Heard::Refused(_) => Ok(Told::Wrong),
            Heard::Pending(_) => Err("it asks for a second step".to_owned()),
            Heard::Throttled => Err("it takes no more logins now".to_owned()),
            Heard::Nonsense(cause) => Err(format!("it answered with {cause}")),
        }
    }
}
