//! The calling program's own id and secret, beside the user's credential (RFC 6749, section 2.3).
//!
//! An endpoint says with `client` where they are: in `Authorization: Basic`, or in members of the
//! body. Which programs there are is a matter of the login's configuration; this file only finds
//! what a request presents. `client` writes it where the gateway itself is such a program.

use serde::Deserialize;

use super::body::BodyFormat;
use super::carrier::Carrier;
use super::problem::DialectProblems;
use super::raw_credential::NoKeys;
use super::{CredentialForm, MemberPath};
use tollhouse_core::secret::SecretString;

/// `client` of an endpoint as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawProgram {
    basic: Option<NoKeys>,
    form: Option<RawProgramParts>,
    json: Option<RawProgramParts>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProgramParts {
    id: MemberPath,
    secret: Option<MemberPath>,
}

/// The places in which programs present themselves at an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramForm {
    /// `Authorization: Basic` with the id and the secret.
    pub(crate) basic: bool,
    pub(crate) body: Option<ProgramMembers>,
}

/// The members of a body in which a program presents itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProgramMembers {
    pub(crate) id: Carrier,
    pub(crate) secret: Option<Carrier>,
}

/// The program that a request names, not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PresentedProgram {
    pub id: String,
    /// `None` for a program that presents none, as public ones do.
    pub secret: Option<SecretString>,
    /// True if both are as `Authorization: Basic` has them, where they may be form-encoded (RFC 6749,
    /// section 2.3.1).
    pub may_be_encoded: bool,
}

impl RawProgram {
    /// Checks the table for an endpoint with these credentials.
    pub(crate) fn check(
        self,
        credential: &[CredentialForm],
        at: &str,
        problems: &mut DialectProblems,
    ) -> ProgramForm {
        let is_basic = |form: &CredentialForm| *form == CredentialForm::BasicPassword;
        if self.basic.is_some() && credential.iter().any(is_basic) {
            let message = "is where the user's name and password are: a request has one \
                           Authorization";
            problems.add(format!("{at}.basic"), "", message);
        }
        let kinds = [(BodyFormat::Form, self.form), (BodyFormat::Json, self.json)];
        let mut bodies = kinds.into_iter().filter_map(|(kind, parts)| Some((kind, parts?)));
        let body = bodies.next().map(|(kind, parts)| ProgramMembers {
            id: Carrier::Member(kind, parts.id),
            secret: parts.secret.map(|path| Carrier::Member(kind, path)),
        });
        if bodies.next().is_some() {
            problems.add(at, "", "is in two kinds of body: a request has one");
        }
        if self.basic.is_none() && body.is_none() {
            let message = "is empty: a program is in `basic`, or in `id` and `secret` of `form` or \
                           `json`";
            problems.add(at, "", message);
        }
        let form = ProgramForm { basic: self.basic.is_some(), body };
        let secrets = || credential.iter().flat_map(CredentialForm::carriers);
        if form.carriers().any(|own| secrets().any(|other| own.clashes(other))) {
            problems.add(at, "", "has a member in which the user's credential is");
        }
        form
    }
}

impl ProgramForm {
    /// The members of the body.
    pub(crate) fn carriers(&self) -> impl Iterator<Item = &Carrier> {
        self.body.iter().flat_map(|body| [&body.id].into_iter().chain(&body.secret))
    }

    /// The places of secrets, which no answer shows.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Carrier> {
        self.body.iter().filter_map(|body| body.secret.as_ref())
    }
}
