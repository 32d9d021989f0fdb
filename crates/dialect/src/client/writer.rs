//! Writing a request: values are put into the carriers that the dialect names.
//!
//! Besides the credential these are the values by which the endpoint is told from others (`where`,
//! `require`), and those of `send`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::remote_tokens::{RemoteTokens, authorization, is_cookie_value};
use super::{ClientRequest, DialectClient, RequestError};
use crate::body::{BodyFormat, TEXT};
use crate::body_template::text_of;
use crate::carrier::Carrier;
use crate::condition::ExpectedValue;
use crate::credential::{NameOrigin, NameSource};
use crate::definition::Endpoint;
use crate::member::MemberPath;
use crate::member_tree::MemberTree;
use crate::placeholders::{Placeholder, PlaceholderName};
use crate::program::ProgramForm;
use crate::xml_text::escape_xml;
use tollhouse_core::secret::{Digest, SecretString};

/// A request that is being written.
pub(super) struct RequestWriter<'d> {
    speaker: DialectClient<'d>,
    endpoint: &'d Endpoint,
    /// The system's own name for the session that the request is about.
    session: Option<String>,
    headers: HeaderMap,
    cookies: Vec<String>,
    query: Vec<(String, String)>,
    variables: BTreeMap<String, String>,
    body: Option<BodyFormat>,
    members: Vec<(MemberPath, SentMember)>,
    /// The places that have their value.
    written: Vec<&'d Carrier>,
}

/// A member of the body. A secret is always a text; other values have their own type in JSON.
enum SentMember {
    Secret(SecretString),
    Value(Value),
}

impl SentMember {
    /// The value as text, for all bodies but JSON.
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Secret(secret) => secret.expose().as_str().into(),
            Self::Value(Value::String(text)) => text.into(),
            Self::Value(value) => text_of(Some(value.clone())).into(),
        }
    }
}

impl Serialize for SentMember {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Secret(secret) => secret.expose().serialize(serializer),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

/// The kind of body that has the values besides the credential; `None` if there are none in a body.
pub(super) fn other_body(endpoint: &Endpoint) -> Option<BodyFormat> {
    let conditions = endpoint.selector.iter().chain(&endpoint.require).map(|it| &it.at);
    let sent = endpoint.send.iter().map(|it| &it.at);
    let program = endpoint.program.iter().flat_map(ProgramForm::carriers);
    sent.chain(conditions).chain(program).find_map(Carrier::body_kind)
}

impl<'d> RequestWriter<'d> {
    pub(super) fn new(speaker: DialectClient<'d>, endpoint: &'d Endpoint) -> Self {
        Self {
            speaker,
            endpoint,
            session: None,
            headers: HeaderMap::new(),
            cookies: Vec::new(),
            query: Vec::new(),
            variables: BTreeMap::new(),
            body: None,
            members: Vec::new(),
            written: Vec::new(),
        }
    }

    /// The request is about the session of these tokens.
    pub(super) fn about(self, tokens: &RemoteTokens) -> Self {
        Self { session: tokens.session.clone(), ..self }
    }

    /// Puts a user's name in its place; a name that is always the same has none.
    pub(super) fn name(&mut self, at: &'d NameSource, name: &str) -> Result<(), RequestError> {
        match &at.from {
            NameOrigin::Fixed(fixed) if fixed == name => Ok(()),
            // The system knows one user only.
            NameOrigin::Fixed(_) => Err(RequestError::Unwritable),
            NameOrigin::Carrier(carrier) => self.put(carrier, &at.framed(name)),
        }
    }

    /// Puts a secret into its carrier.
    pub(super) fn put(&mut self, at: &'d Carrier, value: &str) -> Result<(), RequestError> {
        if value.is_empty() {
            return Err(RequestError::Unwritable);
        }
        self.write(at, SentMember::Secret(value.into()))
    }

    fn write(&mut self, at: &'d Carrier, member: SentMember) -> Result<(), RequestError> {
        self.written.push(at);
        if let Carrier::Member(kind, path) = at {
            if self.body.is_some_and(|other| other != *kind) {
                return Err(RequestError::NoEndpoint);
            }
            self.body = Some(*kind);
            self.members.push((path.clone(), member));
            return Ok(());
        }
        let value = member.text();
        let value = value.as_ref();
        match at {
            Carrier::Scheme(scheme) => {
                let field = authorization(scheme, value).ok_or(RequestError::Unwritable)?;
                self.field(AUTHORIZATION, field.expose())
            }
            Carrier::Field(name) => self.field(name.clone(), value),
            Carrier::Cookie(name) => {
                if !is_cookie_value(value) {
                    return Err(RequestError::Unwritable);
                }
                self.cookies.push(format!("{name}={value}"));
                Ok(())
            }
            Carrier::Query(name) => {
                self.query.push((name.clone(), value.to_owned()));
                Ok(())
            }
            Carrier::Variable(name) => {
                // A segment that means another directory, or has a slash, would be another path.
                if matches!(value, "" | "." | "..") || value.contains(['/', '\\']) {
                    return Err(RequestError::Unwritable);
                }
                self.variables.insert(name.clone(), value.to_owned());
                Ok(())
            }
            Carrier::Member(..) => Ok(()),
        }
    }

    /// Adds the calling program's own id and secret, where it has them and the endpoint a place. A
    /// secret goes into `Authorization` where it can (RFC 6749, section 2.3.1).
    fn program(&mut self) -> Result<(), RequestError> {
        let Some(form) = &self.endpoint.program else { return Ok(()) };
        let Some(program) = self.speaker.program else { return Ok(()) };
        let secret = program.secret.as_ref();
        match &form.body {
            Some(body) if !form.basic || secret.is_none() => {
                self.put(&body.id, &program.id)?;
                match (&body.secret, secret) {
                    (Some(at), Some(secret)) => self.put(at, secret.expose()),
                    _ => Ok(()),
                }
            }
            _ => {
                // Both are encoded as in a form before.
                let encoded = |text: &str| {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                let none = SecretString::default();
                let secret = encoded(secret.unwrap_or(&none).expose());
                self.basic(&encoded(&program.id), &secret.into())
            }
        }
    }

    /// Adds what the dialect says of its requests besides the credential.
    fn complete(&mut self) -> Result<(), RequestError> {
        let endpoint = self.endpoint;
        self.program()?;
        let session = self.session.take();
        let config = Value::Object(self.speaker.dialect.config.clone());
        let look = |place: &Placeholder| match place {
            Placeholder::Config(path) => {
                path.iter().try_fold(&config, |value, name| value.get(name)).cloned()
            }
            Placeholder::Named(PlaceholderName::SessionId) => session.clone().map(Value::from),
            Placeholder::Named(PlaceholderName::Null) => Some(Value::Null),
            _ => None,
        };
        for sent in &endpoint.send {
            let mut places = Vec::new();
            sent.value.places(&mut places);
            if places.iter().any(|place| look(place).is_none()) {
                return Err(RequestError::Incomplete(sent.at.to_string()));
            }
            let value = sent.value.render(&look, false).unwrap_or_default();
            self.write(&sent.at, SentMember::Value(value))?;
        }
        for condition in endpoint.selector.iter().chain(&endpoint.require) {
            if self.written.contains(&&condition.at) {
                continue;
            }
            match &condition.expected {
                ExpectedValue::OneOf(values) => {
                    let value = values.first().cloned().unwrap_or_default();
                    self.write(&condition.at, SentMember::Value(value))?;
                }
                ExpectedValue::Any => {
                    return Err(RequestError::Incomplete(condition.at.to_string()));
                }
            }
        }
        let is_filled = |name: &&str| self.variables.contains_key(*name);
        match endpoint.path.variables().find(|name| !is_filled(name)) {
            Some(name) => {
                Err(RequestError::Incomplete(Carrier::Variable(name.to_owned()).to_string()))
            }
            None => Ok(()),
        }
    }

    /// Puts name and password into `Authorization: Basic`.
    pub(super) fn basic(
        &mut self,
        name: &str,
        password: &SecretString,
    ) -> Result<(), RequestError> {
        // RFC 7617, section 2: the name ends at the first colon, and neither name nor password may
        // contain control characters.
        let unwritable = |text: &str| text.contains(char::is_control);
        if name.contains(':') || unwritable(name) || unwritable(password.expose()) {
            return Err(RequestError::Unwritable);
        }
        let pair = SecretString::new(format!("{name}:{}", password.expose()));
        let value = SecretString::new(format!("Basic {}", STANDARD.encode(pair.expose())));
        self.field(AUTHORIZATION, value.expose())
    }

    /// The field is marked as sensitive, so that the HTTP library neither logs it nor keeps it in
    /// its header compression table.
    fn field(&mut self, name: HeaderName, value: &str) -> Result<(), RequestError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| RequestError::Unwritable)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// The request.
    pub(super) fn finish(mut self) -> Result<ClientRequest<'d>, RequestError> {
        self.complete()?;
        if !self.cookies.is_empty() {
            let cookies = self.cookies.join("; ");
            self.field(COOKIE, &cookies)?;
        }
        let (body, content_type) = match self.body {
            None => (Bytes::new(), None),
            Some(BodyFormat::Json) => {
                let members = self.members.iter().map(|(path, value)| (path, value));
                let tree = MemberTree::build(members).ok_or(RequestError::NoEndpoint)?;
                // Texts as keys and values can always be written as JSON.
                let body = serde_json::to_vec(&tree).unwrap_or_default();
                (body.into(), Some("application/json".to_owned()))
            }
            Some(BodyFormat::Form) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (path, value) in &self.members {
                    form.append_pair(&path.names().join("."), &value.text());
                }
                let content_type = "application/x-www-form-urlencoded".to_owned();
                (form.finish().into(), Some(content_type))
            }
            Some(BodyFormat::Multipart) => multipart(&self.members),
            Some(BodyFormat::Xml) => {
                (xml(&self.members)?.into(), Some("text/xml; charset=utf-8".to_owned()))
            }
        };
        if let Some(content_type) = content_type {
            let value = HeaderValue::from_str(&content_type);
            self.headers.insert(CONTENT_TYPE, value.map_err(|_| RequestError::Unwritable)?);
        }
        let mut path = self.endpoint.path.fill(&self.variables).ok_or(RequestError::Unwritable)?;
        if !self.query.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&self.query);
            path = format!("{path}?{}", query.finish());
        }
        let method = self.endpoint.method.clone();
        Ok(ClientRequest { endpoint: self.endpoint, method, path, headers: self.headers, body })
    }
}

/// A document with these elements and attributes.
fn xml(members: &[(MemberPath, SentMember)]) -> Result<String, RequestError> {
    // An element that has attributes has its text beside them.
    let named: Option<Vec<(MemberPath, Cow<'_, str>)>> = members
        .iter()
        .map(|(path, value)| {
            let mut names = path.names().to_vec();
            if names.last().is_some_and(|name| !name.starts_with('@')) {
                names.push(TEXT.to_owned());
            }
            Some((MemberPath::new(names)?, value.text()))
        })
        .collect();
    let named = named.ok_or(RequestError::NoEndpoint)?;
    let texts = named.iter().map(|(path, value)| (path, value.as_ref()));
    let tree = MemberTree::build(texts).ok_or(RequestError::NoEndpoint)?;
    let mut document = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    write_elements(&tree, &mut document);
    Ok(document)
}

/// Writes what is in an element: its elements, each with its attributes, or its text.
fn write_elements(tree: &MemberTree<'_, &str>, xml: &mut String) {
    let MemberTree::Object(members) = tree else { return };
    for (name, member) in members {
        match member {
            MemberTree::Leaf(text) if *name == TEXT => xml.push_str(&escape_xml(text)),
            MemberTree::Object(inner) => {
                xml.push_str(&format!("<{name}"));
                for (name, value) in inner {
                    if let (Some(name), MemberTree::Leaf(text)) = (name.strip_prefix('@'), value) {
                        xml.push_str(&format!(" {name}=\"{}\"", escape_xml(text)));
                    }
                }
                xml.push('>');
                write_elements(member, xml);
                xml.push_str(&format!("</{name}>"));
            }
            MemberTree::Leaf(_) | MemberTree::List(_) => {}
        }
    }
}

/// A body of parts (RFC 7578). The boundary is a digest of the values, so that none contains it.
fn multipart(members: &[(MemberPath, SentMember)]) -> (Bytes, Option<String>) {
    let texts: Vec<Cow<'_, str>> = members.iter().map(|(_, value)| value.text()).collect();
    let octets: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let boundary = format!("tollhouse-{:?}", Digest::of_list(&octets));
    let mut body = String::new();
    for ((path, _), value) in members.iter().zip(&texts) {
        let name = path.names().join(".").replace('"', "%22").replace(['\r', '\n'], "");
        body.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    (body.into(), Some(format!("multipart/form-data; boundary={boundary}")))
}
