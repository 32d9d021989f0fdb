//! The server side of a dialect: reading requests and rendering answers.
//!
//! `read` finds the credential of a request at a login endpoint. It is strict: a request that could
//! be read in two ways is refused, and only the carriers that the endpoint lists count. An
//! `Authorization` header beside a JSON login, for example, is ignored. Whether a credential is
//! valid is decided by `login`, not here.

mod header;
mod reading;

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

pub use self::header::basic;
use self::reading::RequestReading;
pub use self::reading::{PathVariables, cookie_values, lenient_name};
use super::credential::CredentialForm;
use super::definition::{Dialect, Endpoint, PresentedCredential};
use super::endpoint_kinds::TokenUse;
use super::local_response::json_answer;
use super::reply::EndpointReply;
use super::{
    Carrier, LocalResponse, PairCarrier, PresentedProgram, Reason, RequestValues, TemplateValues,
};

/// Chooses among the endpoints with one method and path: the first whose conditions the request
/// fulfils. `number` is any of them. `None` if none fits and the request may go to the routes.
///
/// A request goes to the routes only if its body was read whole and in one way: else the system
/// behind the gateway could take for a login what was none here. Therefore another spelling of a
/// member by which endpoints are distinguished is refused, too: some readers ignore case.
///
/// # Errors
///
/// `MalformedRequest` or `UnsupportedMediaType` if none fits.
pub fn choose(
    dialect: &Dialect,
    number: usize,
    head: &Parts,
    variables: &PathVariables,
    body: &[u8],
) -> Result<Option<usize>, Reason> {
    let mut refused = None;
    let hands_on = dialect.siblings(number).any(|(_, endpoint)| endpoint.hands_on);
    if hands_on && is_encoded(head) {
        return Err(Reason::UnsupportedMediaType);
    }
    for (number, endpoint) in dialect.siblings(number) {
        if endpoint.selector.is_empty() {
            return Ok(Some(number));
        }
        let fits = RequestReading::new(endpoint, head, variables, body).and_then(|request| {
            for condition in &endpoint.selector {
                if !request.fulfils(condition)? {
                    let is_close = hands_on
                        && (request.resembles(condition)
                            || request.has_other_spelling(&condition.at));
                    return if is_close { Err(Reason::MalformedRequest) } else { Ok(false) };
                }
            }
            Ok(true)
        });
        match fits {
            Ok(true) => return Ok(Some(number)),
            Ok(false) => {}
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    match refused {
        // Nobody has looked at such a body here.
        None if hands_on && !body.is_empty() && !reads_bodies(dialect, number) => {
            Err(Reason::UnsupportedMediaType)
        }
        None if hands_on => Ok(None),
        refused => Err(refused.unwrap_or(Reason::MalformedRequest)),
    }
}

/// True if the body is coded, so that others would read something else than was read here.
fn is_encoded(head: &Parts) -> bool {
    let codings = head.headers.get_all(http::header::CONTENT_ENCODING);
    codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// True if an endpoint of this path reads bodies: then this body was read, and strictly.
fn reads_bodies(dialect: &Dialect, number: usize) -> bool {
    dialect.siblings(number).any(|(_, endpoint)| !endpoint.accepts.kinds.is_empty())
}

/// Reads the credential that the client presented at `endpoint`. `variables` is what the variables
/// of its path stand for.
///
/// # Errors
///
/// The reason why there is no credential, for the endpoint's error form. None of these errors is a
/// guess at a password, so none needs to be counted.
pub fn read(
    endpoint: &Endpoint,
    head: &Parts,
    variables: &PathVariables,
    body: &[u8],
) -> Result<PresentedCredential, Reason> {
    let request = RequestReading::new(endpoint, head, variables, body)?;
    for condition in &endpoint.require {
        if !request.fulfils(condition)? {
            return Err(Reason::MalformedRequest);
        }
    }
    // Of several credentials of one kind, such as a name or an address beside one password, the one
    // whose name is there counts. Kinds are tried in order.
    let mut rest = endpoint.credential.as_slice();
    while let Some(first) = rest.first() {
        let is_alike = |form: &&CredentialForm| form.is_alike(first);
        let (alike, others) = rest.split_at(rest.iter().take_while(is_alike).count());
        rest = others;
        let mut found = None;
        let mut incomplete = None;
        for form in alike {
            match request.credential(form) {
                Ok(None) => {}
                Ok(Some(_)) if found.is_some() => return Err(Reason::AmbiguousCredential),
                Ok(Some(presented)) => found = Some(presented),
                Err(
                    reason @ (Reason::MissingUsername
                    | Reason::MissingPassword
                    | Reason::CodeRequired),
                ) => {
                    incomplete.get_or_insert(reason);
                }
                Err(reason) => return Err(reason),
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        if let Some(reason) = incomplete {
            return Err(reason);
        }
    }
    Err(nothing_found(endpoint))
}

/// Reads the program that the request names beside the user; `None` if it names none, or if the
/// endpoint does not look for one.
///
/// # Errors
/// `AmbiguousCredential` if two programs or two secrets are there, and the refusal of a body that
/// cannot be read.
pub fn read_program(
    endpoint: &Endpoint,
    head: &Parts,
    variables: &PathVariables,
    body: &[u8],
) -> Result<Option<PresentedProgram>, Reason> {
    let Some(form) = &endpoint.program else { return Ok(None) };
    let request = RequestReading::new(endpoint, head, variables, body)?;
    let in_head = if form.basic { basic(request.headers())? } else { None };
    let in_head = in_head.map(|(id, secret)| PresentedProgram {
        id,
        secret: Some(secret),
        may_be_encoded: true,
    });
    let Some(members) = &form.body else { return Ok(in_head) };
    let id = request.text(&members.id)?;
    let secret = members.secret.as_ref().map(|at| request.text(at)).transpose()?.flatten();
    match (in_head, id, secret) {
        (in_head, None, None) => Ok(in_head),
        (None, Some(id), secret) => {
            let id = id.expose().to_owned();
            Ok(Some(PresentedProgram { id, secret, may_be_encoded: false }))
        }
        // Many programs repeat their id beside the request's other parameters.
        (Some(in_head), Some(id), None) if in_head.id == *id.expose() => Ok(Some(in_head)),
        (Some(_), ..) => Err(Reason::AmbiguousCredential),
        (None, None, Some(_)) => Err(Reason::InvalidClient),
    }
}

/// True if the head has a bearer token.
pub fn has_bearer(head: &Parts) -> bool {
    matches!(header::bearer(&head.headers), Ok(Some(_)))
}

/// True if the head alone shows that `endpoint` is asked to renew a token of ours, so that no
/// password can follow in the body. `login` uses it to sort requests into kinds of work before
/// their bodies are read.
pub fn renews(endpoint: &Endpoint, head: &Parts) -> bool {
    let is_in_head = |form: &CredentialForm| {
        *form == CredentialForm::BasicPassword
            || *form == CredentialForm::bearer(TokenUse::Renew)
            || *form == CredentialForm::bearer(TokenUse::Extend)
    };
    endpoint.credential.iter().all(is_in_head) && has_bearer(head)
}

/// The values of a request that the answers of the endpoint show.
pub fn shown(
    endpoint: &Endpoint,
    head: &Parts,
    variables: &PathVariables,
    body: &[u8],
) -> RequestValues {
    if endpoint.shown.is_empty() {
        return RequestValues::default();
    }
    let Ok(request) = RequestReading::new(endpoint, head, variables, body) else {
        return RequestValues::default();
    };
    let value = |at: &Carrier| request.shown(at).map(|value| (at.clone(), value));
    RequestValues(endpoint.shown.iter().filter_map(value).collect())
}

/// Renders the answer of an endpoint in case of success. All values must be in `facts`: a missing
/// one is rendered as `null`, and nothing is looked up here.
pub fn render(reply: &EndpointReply, facts: &TemplateValues, dialect: &Dialect) -> LocalResponse {
    reply.render(&|place| place.value(facts, Some(dialect)), facts.now)
}

/// An answer in JSON that looks the same in every dialect, because a standard defines it.
pub fn json(value: &Value) -> LocalResponse {
    json_answer(StatusCode::OK, Some(value))
}

/// The reason for a request without any credential. Where only names in the body are accepted, the
/// first missing member is the name; otherwise the credential as a whole is missing. The difference
/// only helps developers of clients.
fn nothing_found(endpoint: &Endpoint) -> Reason {
    if endpoint.step.asks_about_tokens() {
        return Reason::MalformedRequest;
    }
    let asks_for_name = |form: &CredentialForm| {
        form.is_in_body()
            && matches!(form, CredentialForm::Password { .. } | CredentialForm::Code { .. })
    };
    if !endpoint.credential.is_empty() && endpoint.credential.iter().all(asks_for_name) {
        Reason::MissingUsername
    } else {
        Reason::CredentialMissing
    }
}

impl CredentialForm {
    /// True if both are credentials of one kind, of which a request has one: for the same step, and
    /// with names in the same kind of place.
    fn is_alike(&self, other: &Self) -> bool {
        let is_one_kind = match (self, other) {
            (Self::Password { .. }, Self::Password { .. })
            | (Self::Code { .. }, Self::Code { .. }) => true,
            (one, other) => std::ptr::eq(one, other),
        };
        is_one_kind && self.body_kind() == other.body_kind()
    }
}

impl RequestReading<'_> {
    /// Reads a credential of this form. `None` if the request has none.
    fn credential(&self, form: &CredentialForm) -> Result<Option<PresentedCredential>, Reason> {
        // Of forms in several kinds of body, the one counts whose body the request has.
        if let Some(kind) = form.body_kind()
            && self.body_kind().is_some_and(|present| present != kind)
        {
            return Ok(None);
        }
        match form {
            CredentialForm::Password { name: at, password, code } => {
                // A request with only one of the two clearly meant this form. It is refused here
                // instead of being tried as another form, so that the client learns what is missing.
                let is_fixed = at.is_fixed();
                match (self.name(at)?, self.text(password)?) {
                    (None, None) => Ok(None),
                    (Some(_), None) if is_fixed => Ok(None),
                    (None, Some(_)) => Err(Reason::MissingUsername),
                    (Some(_), None) => Err(Reason::MissingPassword),
                    (Some(name), Some(password)) => {
                        let code = code.as_ref().map(|code| self.text(code)).transpose()?.flatten();
                        Ok(Some(PresentedCredential::Password { name, password, code }))
                    }
                }
            }
            CredentialForm::Code { name: at, code, ticket } => {
                let is_fixed = at.is_fixed();
                match (self.name(at)?, self.text(code)?) {
                    (None, None) => Ok(None),
                    (Some(_), None) if is_fixed => Ok(None),
                    (None, Some(_)) => Err(Reason::MissingUsername),
                    (Some(_), None) => Err(Reason::CodeRequired),
                    (Some(name), Some(code)) => {
                        let ticket = match ticket {
                            Some(ticket) => self.text(ticket)?,
                            None => None,
                        };
                        Ok(Some(PresentedCredential::Code { name, code, ticket }))
                    }
                }
            }
            CredentialForm::BasicPassword => {
                let pair = basic(self.headers())?;
                Ok(pair.map(|(name, password)| PresentedCredential::Password {
                    name,
                    password,
                    code: None,
                }))
            }
            CredentialForm::Token { at, purpose: TokenUse::About } => {
                Ok(self.text(at)?.map(|token| PresentedCredential::InspectedToken { token }))
            }
            CredentialForm::Token { at, purpose } => {
                let token = match self.text(at) {
                    // A foreign token may be malformed by the rules of RFC 6750. Nobody can say
                    // whose it is, so it counts as "no token" and not as a bad one.
                    Err(Reason::TokenInvalid) if *purpose == TokenUse::Exchange => None,
                    token => token?,
                };
                Ok(token.map(|token| PresentedCredential::Token { token, purpose: *purpose }))
            }
            CredentialForm::Pair(pair) => self.pair(pair),
        }
    }

    fn pair(&self, pair: &PairCarrier) -> Result<Option<PresentedCredential>, Reason> {
        let fact = pair.fact;
        match (self.text(&pair.token)?, self.text(&pair.key)?) {
            (None, None) if !self.has(&pair.token) && !self.has(&pair.key) => Ok(None),
            (Some(token), Some(key)) => {
                let is_token = header::is_b64token(token.expose());
                is_token
                    .then_some(Some(PresentedCredential::Pair { token, key, fact }))
                    .ok_or(Reason::TokenInvalid)
            }
            // With one alone the request is refused, not treated as one without a credential.
            // Otherwise a token that needs a key could fall through to a more lenient rule, and the
            // client would get a misleading answer.
            _ => Err(Reason::TokenInvalid),
        }
    }
}

#[cfg(test)]
mod tests;
