//! `send`: what a client of the dialect sends besides its credential.
//!
//! `send = { json = { db = "$config.db" }, query = { v = "2" }, fields = { X-App = "web" } }`. A
//! system often wants the name of a database, or a version, with each login. `client` writes these
//! values; `server` never looks at them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::carrier::Carrier;
use super::condition::NamedPlace;
use super::credential::CredentialForm;
use super::endpoint_kinds::EndpointStep;
use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::template::TemplateNode;

/// The values as they are written, by the place that they go to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSentValues {
    json: Map<String, Value>,
    form: Map<String, Value>,
    multipart: Map<String, Value>,
    xml: Map<String, Value>,
    query: BTreeMap<String, Value>,
    fields: BTreeMap<String, Value>,
    path: BTreeMap<String, Value>,
}

/// A value that a client sends, and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SentValue {
    pub(crate) at: Carrier,
    pub(crate) value: TemplateNode,
}

impl RawSentValues {
    /// Checks the values. What is wrong is in `problems`, and left out.
    pub(crate) fn check(
        self,
        step: EndpointStep,
        credential: &[CredentialForm],
        at: &str,
        problems: &mut DialectProblems,
    ) -> Vec<SentValue> {
        let scope = match step {
            EndpointStep::Login | EndpointStep::VerifyCode => PlaceholderScope::SENT,
            _ => PlaceholderScope::SENT_LATER,
        };
        let places: [(NamedPlace, Vec<(String, Value)>); 7] = [
            (NamedPlace::Json, self.json.into_iter().collect()),
            (NamedPlace::Form, self.form.into_iter().collect()),
            (NamedPlace::Multipart, self.multipart.into_iter().collect()),
            (NamedPlace::Xml, self.xml.into_iter().collect()),
            (NamedPlace::Query, self.query.into_iter().collect()),
            (NamedPlace::Fields, self.fields.into_iter().collect()),
            (NamedPlace::Path, self.path.into_iter().collect()),
        ];
        let mut sent: Vec<SentValue> = Vec::new();
        for (place, members) in places {
            for (name, value) in members.into_iter().flat_map(|(name, value)| flat(name, value)) {
                let at = format!("{at}.{}.{name}", place.key());
                let carrier = match place.carrier(&name) {
                    Ok(carrier) => carrier,
                    Err(message) => {
                        problems.add(&at, "", message);
                        continue;
                    }
                };
                let is_text = matches!(value, Value::String(_));
                if !is_text && !matches!(place, NamedPlace::Json) && !is_scalar(&value) {
                    problems.add(&at, "", "must be a text, a number or a flag");
                }
                let places = credential.iter().flat_map(CredentialForm::carriers);
                if places.clone().any(|it| it.clashes(&carrier)) {
                    problems.add(&at, "", "is the place of the credential");
                }
                if sent.iter().any(|it| it.at.clashes(&carrier)) {
                    problems.add(&at, "", "is the place of another value, or on the way to it");
                }
                let value = TemplateNode::compile(value, scope, &at, problems);
                sent.push(SentValue { at: carrier, value });
            }
        }
        let mut kinds = sent.iter().filter_map(|sent| sent.at.body_kind());
        if let Some(first) = kinds.next()
            && kinds.any(|other| other != first)
        {
            problems.add(at, "", "has values for two kinds of body; a request has one");
        }
        sent
    }
}

impl SentValue {
    /// The values of the configuration that it needs.
    pub(crate) fn config_paths(&self) -> impl Iterator<Item = &[String]> {
        let mut places = Vec::new();
        self.value.places(&mut places);
        places.into_iter().filter_map(|place| match place {
            Placeholder::Config(path) => Some(path.as_slice()),
            _ => None,
        })
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_))
}

/// A value, or the values in a table: TOML makes a table of `auth.scope = "x"`.
fn flat(name: String, value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let inner = members.into_iter();
            inner.flat_map(|(inner, value)| flat(format!("{name}.{inner}"), value)).collect()
        }
        value => vec![(name, value)],
    }
}
