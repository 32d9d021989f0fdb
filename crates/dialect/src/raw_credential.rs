//! The credentials that an endpoint takes, as they are written in `credential`.
//!
//! `{ json = { username = "user", password = "pass" } }` says which members of a JSON body have
//! them; `form`, `multipart`, `xml`, `fields`, `query` and `path` say the same of other places, and
//! one credential may have several: `{ path = { username = "user" }, json = { password = "pass" } }`.
//! `{ token = CARRIER, use = "access" }` is a token in any place. The short forms `basic`, `bearer`,
//! `token_key`, `json_code`, `json_refresh` and `form = "token"` stand for what is used most.

use serde::Deserialize;

use crate::MemberPath;
use crate::body::BodyFormat;
use crate::carrier::{Carrier, RawTokenCarrier};
use crate::credential::{CredentialForm, NameOrigin, NameSource};
use crate::endpoint_kinds::{EndpointStep, TokenUse};
use crate::member_tree::MemberTree;
use crate::problem::DialectProblems;

/// One credential as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCredential {
    json: Option<RawParts>,
    form: Option<RawForm>,
    multipart: Option<RawParts>,
    xml: Option<RawParts>,
    fields: Option<RawParts>,
    query: Option<RawParts>,
    path: Option<RawParts>,
    basic: Option<NoKeys>,
    json_code: Option<RawParts>,
    json_refresh: Option<MemberPath>,
    bearer: Option<TokenUse>,
    token_key: Option<NoKeys>,
    token: Option<RawTokenCarrier>,
    #[serde(rename = "use")]
    purpose: Option<TokenUse>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoKeys {}

/// The parts of a credential that are in one kind of place.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawParts {
    username: Option<RawName>,
    password: Option<MemberPath>,
    code: Option<MemberPath>,
    ticket: Option<MemberPath>,
}

/// `form = "token"` is the token that the request is about, `form = { … }` are parts.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum RawForm {
    About(String),
    Parts(RawParts),
}

/// Where a user's name is, or which name it always is.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum RawName {
    At(MemberPath),
    Source(RawNameSource),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNameSource {
    at: Option<MemberPath>,
    fixed: Option<String>,
    strip: Option<[String; 2]>,
}

impl RawCredential {
    /// Checks a credential of an endpoint with this step. `None` if it is wrong, and then
    /// `problems` says what is.
    pub(crate) fn check(
        self,
        step: EndpointStep,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Option<CredentialForm> {
        let name = self.name();
        let before = problems.len();
        let form = self.read(at, problems)?;
        if !form.fits(step) {
            problems.add(at, &name, misfit(&name, step));
            return None;
        }
        let carriers = form.carriers();
        let mut pairs = carriers
            .iter()
            .enumerate()
            .flat_map(|(number, one)| carriers.iter().take(number).map(move |other| (one, other)));
        if pairs.any(|(one, other)| one.clashes(other)) {
            let message = "has one member inside another, which is a text: no body can have both";
            problems.add(at, &name, message);
        }
        let in_json = carriers.iter().filter_map(|carrier| match carrier {
            Carrier::Member(BodyFormat::Json, path) => Some((path, ())),
            _ => None,
        });
        if MemberTree::build(in_json).is_none() && problems.len() == before {
            let message = "cannot be written: elements of a list count up from [0] without a gap, and \
                           a body is no list";
            problems.add(at, &name, message);
        }
        let mut kinds = carriers.iter().filter_map(|carrier| carrier.body_kind());
        if let Some(first) = kinds.next()
            && kinds.any(|kind| kind != first)
        {
            problems.add(at, &name, "is in two kinds of body: a request has one");
        }
        Some(form)
    }

    /// True if it has a place for a code beside the password.
    pub(crate) fn has_code_beside_password(&self) -> bool {
        let form = match &self.form {
            Some(RawForm::Parts(parts)) => Some(parts),
            _ => None,
        };
        let places = [&self.json, &self.multipart, &self.xml, &self.fields, &self.query];
        let mut parts = places.into_iter().flatten().chain(form);
        let has_password = parts.clone().any(|parts| parts.password.is_some());
        has_password && parts.any(|parts| parts.code.is_some())
    }

    /// The name of the credential in messages.
    fn name(&self) -> String {
        let named = [
            (self.json_code.is_some(), "json_code"),
            (self.json_refresh.is_some(), "json_refresh"),
            (self.basic.is_some(), "basic"),
            (self.token_key.is_some(), "token_key"),
            (self.json.is_some(), "json"),
            (self.form.is_some(), "form"),
            (self.multipart.is_some(), "multipart"),
            (self.xml.is_some(), "xml"),
            (self.fields.is_some(), "fields"),
            (self.query.is_some(), "query"),
            (self.path.is_some(), "path"),
        ];
        match (self.bearer, &self.token, self.purpose) {
            (Some(purpose), ..) => format!("bearer = \"{}\"", purpose.name()),
            (None, Some(_), Some(purpose)) => format!("token … use = \"{}\"", purpose.name()),
            (None, Some(_), None) => "token".to_owned(),
            _ => {
                named.iter().find(|(is_there, _)| *is_there).map_or("", |(_, name)| name).to_owned()
            }
        }
    }

    fn read(self, at: &str, problems: &mut DialectProblems) -> Option<CredentialForm> {
        let before = problems.len();
        let mut forms: Vec<CredentialForm> = Vec::new();
        if let Some(carrier) = self.token {
            forms.extend(read_token(carrier, self.purpose, at, problems));
        } else if self.purpose.is_some() {
            problems.add(format!("{at}.use"), "", "goes only with `token`");
        }
        forms.extend(self.basic.map(|_| CredentialForm::BasicPassword));
        forms.extend(self.token_key.map(|_| CredentialForm::token_key()));
        forms.extend(self.bearer.map(CredentialForm::bearer));
        forms.extend(self.json_refresh.map(|path| CredentialForm::Token {
            at: Carrier::Member(BodyFormat::Json, path),
            purpose: TokenUse::Refresh,
        }));
        let (about, form) = match self.form {
            Some(RawForm::About(name)) => (MemberPath::new(vec![name]), None),
            Some(RawForm::Parts(parts)) => (None, Some(parts)),
            None => (None, None),
        };
        forms.extend(about.map(|path| CredentialForm::Token {
            at: Carrier::Member(BodyFormat::Form, path),
            purpose: TokenUse::About,
        }));
        let places = [
            (PartPlace::Body(BodyFormat::Json), "json", self.json),
            (PartPlace::Body(BodyFormat::Json), "json_code", self.json_code),
            (PartPlace::Body(BodyFormat::Form), "form", form),
            (PartPlace::Body(BodyFormat::Multipart), "multipart", self.multipart),
            (PartPlace::Body(BodyFormat::Xml), "xml", self.xml),
            (PartPlace::Field, "fields", self.fields),
            (PartPlace::Query, "query", self.query),
            (PartPlace::Variable, "path", self.path),
        ];
        let mut parts = CredentialParts::default();
        let mut has_parts = false;
        for (place, key, raw) in places {
            if let Some(raw) = raw {
                has_parts = true;
                parts.take(raw, place, &format!("{at}.{key}"), problems);
            }
        }
        if has_parts {
            forms.extend(parts.finish(at, problems));
        }
        if forms.is_empty() && !has_parts && problems.len() == before {
            problems.add(at, "", "has no `username`, no `token` and no short form: it is empty");
        }
        if forms.len() > 1 {
            problems.add(at, "", "is several credentials in one: make each an entry of the list");
        }
        forms.into_iter().next()
    }
}

fn read_token(
    carrier: RawTokenCarrier,
    purpose: Option<TokenUse>,
    at: &str,
    problems: &mut DialectProblems,
) -> Option<CredentialForm> {
    let Some(purpose) = purpose else {
        let message = format!("is missing: what is the token for? One of {}", TokenUse::NAMES);
        problems.add(format!("{at}.use"), "", message);
        return None;
    };
    let at = format!("{at}.token");
    match carrier {
        RawTokenCarrier::Single(carrier) => {
            Some(CredentialForm::Token { at: carrier.check(&at, problems)?, purpose })
        }
        RawTokenCarrier::Pair { pair } => {
            let pair = pair.check(&at, problems);
            if purpose != TokenUse::Access {
                problems.add(&at, purpose.name(), "a pair is an access token and its key");
            }
            pair.map(CredentialForm::Pair)
        }
    }
}

/// The kind of place that a table of parts is about.
#[derive(Clone, Copy)]
enum PartPlace {
    Body(BodyFormat),
    Field,
    Query,
    Variable,
}

impl PartPlace {
    fn carrier(self, path: MemberPath) -> Result<Carrier, &'static str> {
        // A name outside a body is one name, whatever dots it has.
        let name = || path.names().join(".");
        match self {
            Self::Body(kind) => Ok(Carrier::Member(kind, path)),
            Self::Field => Carrier::field(&name()),
            Self::Query => Carrier::query(name()),
            Self::Variable => Carrier::variable(name()),
        }
    }
}

/// The parts of one credential, from all its places.
#[derive(Default)]
struct CredentialParts {
    name: Option<NameSource>,
    password: Option<Carrier>,
    code: Option<Carrier>,
    ticket: Option<Carrier>,
}

impl CredentialParts {
    fn take(&mut self, raw: RawParts, place: PartPlace, at: &str, problems: &mut DialectProblems) {
        let carrier = |path, key: &str, problems: &mut DialectProblems| match place.carrier(path) {
            Ok(carrier) => Some(carrier),
            Err(message) => {
                problems.add(format!("{at}.{key}"), "", message);
                None
            }
        };
        let twice = |key: &str, problems: &mut DialectProblems| {
            problems.add(format!("{at}.{key}"), "", "is given in two places");
        };
        if let Some(raw) = raw.username {
            if self.name.is_some() {
                twice("username", problems);
            }
            let source = match raw {
                RawName::At(path) => RawNameSource { at: Some(path), ..RawNameSource::default() },
                RawName::Source(source) => source,
            };
            let from = match (source.at, source.fixed) {
                (Some(path), None) => carrier(path, "username", problems).map(NameOrigin::Carrier),
                (None, Some(name)) if !name.is_empty() => Some(NameOrigin::Fixed(name)),
                _ => {
                    let message = "must have either `at`, the name's place, or `fixed`, the name";
                    problems.add(format!("{at}.username"), "", message);
                    None
                }
            };
            let frame = source.strip.map(|[before, behind]| (before, behind));
            self.name = from.map(|from| NameSource { from, frame }).or(self.name.take());
        }
        let rest = [
            ("password", raw.password, &mut self.password),
            ("code", raw.code, &mut self.code),
            ("ticket", raw.ticket, &mut self.ticket),
        ];
        for (key, path, slot) in rest {
            let Some(path) = path else { continue };
            if slot.is_some() {
                twice(key, problems);
            }
            *slot = carrier(path, key, problems).or(slot.take());
        }
    }

    fn finish(self, at: &str, problems: &mut DialectProblems) -> Option<CredentialForm> {
        let before = problems.len();
        let mut missing = |key: &str| {
            if problems.len() == before {
                problems.add(at, "", format!("has no `{key}`"));
            }
        };
        let Some(name) = self.name else {
            missing("username");
            return None;
        };
        match (self.password, self.code, self.ticket) {
            (Some(password), code, None) => Some(CredentialForm::Password { name, password, code }),
            (None, Some(code), ticket) => Some(CredentialForm::Code { name, code, ticket }),
            (Some(_), _, Some(_)) => {
                let message = "has a password and a ticket; a ticket is for a step of its own";
                problems.add(at, "", message);
                None
            }
            (None, None, _) => {
                missing("password");
                None
            }
        }
    }
}

/// The message for a form that does not go with the step: what is wrong, and which forms go with
/// it. The list spares the operator a look into the documentation.
fn misfit(name: &str, step: EndpointStep) -> String {
    let step_name = step.name();
    match step.credentials() {
        "" => format!("`{name}`: step `{step_name}` takes no credential"),
        known => format!("`{name}` is no credential of step `{step_name}`; there are {known}"),
    }
}
