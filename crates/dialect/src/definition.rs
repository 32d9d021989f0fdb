//! The types of a checked dialect: `server` reads requests and renders answers by them, `client`
//! does the reverse.
//!
//! They are plain data and refer to nothing outside the dialect. Invariant: they are made by
//! `check` alone, so every template's placeholders exist, and every endpoint has credentials that
//! go with its step.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value};

use super::body::AcceptedBodies;
use super::calls::{CallCarrier, ForgeryDefence};
use super::carrier::{Carrier, SessionFact};
use super::condition::Condition;
use super::credential::CredentialForm;
use super::endpoint_kinds::{AccountLookup, EndpointStep, SecondStep, TokenUse};
use super::endpoint_path::EndpointPath;
use super::reply::EndpointReply;
use super::sent_value::SentValue;
use super::{CorsPolicy, ErrorFormat, OpaqueFormat, ProgramForm, Template};
use tollhouse_core::algorithm::Algorithm;
use tollhouse_core::secret::SecretString;

/// A login wire format.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    /// The errors of routes that name this dialect, and of requests that belong to no endpoint.
    pub errors: Arc<ErrorFormat>,
    /// Claims that are added to the standard claims of access tokens. The only standard claim that
    /// can be replaced is `sub`. A claim whose value is not known is left out, so the standard
    /// `sub` stays in that case.
    pub access_claims: Template,
    pub refresh_claims: Template,
    pub defaults: TokenDefaults,
    /// The table for `$user.role_number`: the number of the first role in this table that the user
    /// has. Such numbers are what some legacy clients expect instead of names.
    pub role_numbers: Vec<(String, i64)>,
    /// The number of a user who has none of these roles.
    pub role_number_default: i64,
    pub cors: Option<CorsPolicy>,
    /// Values of `$config.…` that apply where the login's configuration has none.
    pub config: Map<String, Value>,
    /// True if the dialect answers an unknown user differently from a wrong password. The operator
    /// must allow it, because it shows strangers which users exist. See `reveal_unknown_user` in
    /// `gateway.toml`.
    pub tells_unknown_user: bool,
    /// True if any answer contains a refresh token; otherwise none is made.
    pub gives_refresh_token: bool,
    /// True if any answer contains the session's key. Then access tokens are bound to the key by
    /// the claim `kh` and are accepted only together with it, so a stolen token alone is useless.
    pub gives_key: bool,
    /// True if any answer contains the session's value against forged requests.
    pub gives_csrf: bool,
    /// True if an answer or a claim shows the login's URL, so that every login must have one.
    pub shows_url: bool,
    /// How clients carry the access token on every request that is no endpoint's.
    pub call: Vec<CallCarrier>,
    /// Which requests with a cookie are taken for forged ones.
    pub csrf: ForgeryDefence,
}

impl Dialect {
    /// The endpoints with the method and path of this one, itself included, in the order of the
    /// file.
    pub fn siblings(&self, number: usize) -> impl Iterator<Item = (usize, &Endpoint)> {
        let one = self.endpoints.get(number);
        let is_sibling = move |other: &&Endpoint| {
            one.is_some_and(|one| one.method == other.method && one.path == other.path)
        };
        self.endpoints.iter().enumerate().filter(move |(_, other)| is_sibling(other))
    }

    /// The number of the first role in the dialect's table that is among `roles`, or the default
    /// number. The order of the user's own roles does not matter.
    pub fn role_number(&self, roles: &[String]) -> i64 {
        self.role_numbers
            .iter()
            .find(|(role, _)| roles.contains(role))
            .map_or(self.role_number_default, |(_, number)| *number)
    }
}

/// Preferences of a dialect for its tokens. They apply where `[[login]]` has no value, so that the
/// clients of a legacy system get tokens like those they had before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenDefaults {
    /// The form of opaque access tokens; `None` for signed ones. Refresh tokens are always signed.
    pub opaque: Option<OpaqueFormat>,
    pub algorithm: Option<Algorithm>,
    pub access_ttl: Option<Duration>,
    pub refresh_ttl: Option<Duration>,
    pub refresh_idle: Option<Duration>,
    /// An opaque token ends when it was not used for so long; each use moves its end, at most to that
    /// of the session.
    pub idle: Option<Duration>,
    /// The session ends together with its only access token; there is no refresh of any kind.
    pub ends_with_access: bool,
}

/// One path and method of a dialect, with the step that it carries out.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub step: EndpointStep,
    pub method: Method,
    /// The path below the login's prefix. Its fixed parts have one spelling only and are compared
    /// byte by byte.
    pub path: EndpointPath,
    /// The conditions that distinguish this endpoint from others of the same method and path. The
    /// first endpoint whose conditions hold is taken.
    pub(crate) selector: Vec<Condition>,
    /// If true, a request whose body was read, and that no endpoint of this method and path takes,
    /// goes to the routes.
    pub hands_on: bool,
    /// If true, the endpoint answers only requests without a valid token; other requests go on to
    /// the routes. A path can thus be public for a login page and protected for users.
    pub when_unauthenticated: bool,
    /// The forms of credential that are accepted, in the order in which they are tried. Invariant:
    /// forms in the body come before forms in a header. The first form that the request has is
    /// taken.
    pub credential: Vec<CredentialForm>,
    /// Where the calling program presents itself beside the user; `None` if it does not.
    pub program: Option<ProgramForm>,
    /// Conditions on every request; one that does not fulfil them is malformed.
    pub require: Vec<Condition>,
    /// What a client sends besides its credential. Here it means nothing; `client` writes it.
    pub(crate) send: Vec<SentValue>,
    /// The bodies that are read here; none if everything is in the head.
    pub(crate) accepts: AcceptedBodies,
    /// The kinds of name under which users are looked up, login name or e-mail address. Of several,
    /// the first by which the name is known counts. Invariant: there is at least one.
    pub account: Vec<AccountLookup>,
    /// The second step of a login after the password.
    pub second_step: SecondStep,
    /// For the step `refresh`: true if each refresh makes a new refresh token (rotation).
    pub rotates: bool,
    /// The places in the request whose values the answers show.
    pub(crate) shown: Vec<Carrier>,
    /// The answer in case of success.
    pub reply: EndpointReply,
    /// The answer of a login that waits for its second step.
    pub pending_reply: Option<EndpointReply>,
    /// The error answers: those of the dialect, with this endpoint's own entries in front. They are
    /// complete when the configuration is loaded, except for the values that differ between
    /// requests.
    pub errors: Arc<ErrorFormat>,
}

impl Endpoint {
    /// True if the calling program has an id and a secret of its own here.
    pub fn asks_for_program(&self) -> bool {
        self.program.is_some()
    }

    /// True if the endpoint leaves some requests to the routes.
    pub fn falls_through(&self) -> bool {
        self.hands_on || self.answers_strangers()
    }

    /// True if the endpoint answers only requests without a valid token.
    pub fn answers_strangers(&self) -> bool {
        self.step == EndpointStep::Answer && self.when_unauthenticated
    }

    /// True if an error of the endpoint shows a value of the request.
    pub fn shows_in_errors(&self) -> bool {
        self.errors.shows_request()
    }

    /// True if requests can have the code of a second step beside the password.
    pub fn takes_code_beside_password(&self) -> bool {
        let has_code =
            |form: &CredentialForm| matches!(form, CredentialForm::Password { code: Some(_), .. });
        self.credential.iter().any(has_code)
    }

    /// The path with `***` in the place of its variables, if one of them is a secret.
    pub fn masked_path(&self) -> Option<String> {
        let mut secrets = self.credential.iter().flat_map(CredentialForm::secrets);
        secrets.any(|at| matches!(at, Carrier::Variable(_))).then(|| self.path.masked())
    }

    /// The cookies in which the endpoint takes a credential.
    pub fn cookies(&self) -> impl Iterator<Item = &Carrier> {
        let carriers = self.credential.iter().flat_map(CredentialForm::carriers);
        carriers.filter(|carrier| carrier.is_ambient())
    }

    /// True if the endpoint takes a cookie or sets one, so that a browser could be made to call it
    /// in its user's name.
    pub fn uses_cookies(&self) -> bool {
        let mut replies = [Some(&self.reply), self.pending_reply.as_ref()].into_iter().flatten();
        self.cookies().next().is_some() || replies.any(EndpointReply::sets_cookies)
    }
}

/// The credential that a client presented at a login endpoint, or the token that it asks about. It
/// was read from the request and not verified yet. Secrets in it are wiped when it is dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum PresentedCredential {
    Password {
        name: String,
        password: SecretString,
        /// The code of a second step, where the request has it beside the password.
        code: Option<SecretString>,
    },
    Code {
        name: String,
        code: SecretString,
        ticket: Option<SecretString>,
    },
    Token {
        token: SecretString,
        purpose: TokenUse,
    },
    Pair {
        token: SecretString,
        key: SecretString,
        /// What the key has to agree with; `None` where it is the session's secret key.
        fact: Option<SessionFact>,
    },
    /// No credential, but the token that a program asks about.
    InspectedToken {
        token: SecretString,
    },
}
