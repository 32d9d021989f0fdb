//! Writing a request: values are put into the carriers that the dialect names.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::values::is_token;
use super::{ClientRequest, RequestError};
use crate::body::BodyKind;
use crate::carrier::Carrier;
use crate::credential::{NameOrigin, NameSource};
use crate::definition::Endpoint;
use crate::xml_text::escape_xml;
use tollhouse_core::secret::{Digest, SecretString};

/// The member that stands for the text of an XML element.
const TEXT: &str = "#text";

/// A request that is being written.
pub(super) struct RequestWriter<'d> {
    endpoint: &'d Endpoint,
    headers: HeaderMap,
    cookies: Vec<String>,
    query: Vec<(String, String)>,
    variables: BTreeMap<String, String>,
    body: Option<BodyKind>,
    members: Map<String, Value>,
}

impl<'d> RequestWriter<'d> {
    pub(super) fn new(endpoint: &'d Endpoint) -> Self {
        Self {
            endpoint,
            headers: HeaderMap::new(),
            cookies: Vec::new(),
            query: Vec::new(),
            variables: BTreeMap::new(),
            body: None,
            members: Map::new(),
        }
    }

    /// Puts a user's name in its place; a name that is always the same has none.
    pub(super) fn name(&mut self, at: &NameSource, name: &str) -> Result<(), RequestError> {
        match &at.from {
            NameOrigin::Fixed(fixed) if fixed == name => Ok(()),
            // The system knows one user only.
            NameOrigin::Fixed(_) => Err(RequestError::Unwritable),
            NameOrigin::Carrier(carrier) => self.put(carrier, &at.framed(name)),
        }
    }

    /// Puts a value into its carrier.
    pub(super) fn put(&mut self, at: &Carrier, value: &str) -> Result<(), RequestError> {
        if value.is_empty() {
            return Err(RequestError::Unwritable);
        }
        match at {
            Carrier::Scheme(scheme) => {
                if !is_token(value) {
                    return Err(RequestError::Unwritable);
                }
                let separator = if scheme.is_empty() { "" } else { " " };
                let field = SecretString::new(format!("{scheme}{separator}{value}"));
                self.field(AUTHORIZATION, field.expose())
            }
            Carrier::Field(name) => self.field(name.clone(), value),
            Carrier::Cookie(name) => {
                let is_value =
                    value.bytes().all(|it| it.is_ascii_graphic() && !b"\",;\\".contains(&it));
                if !is_value {
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
                if matches!(value, "." | "..") || value.contains(['/', '\\']) {
                    return Err(RequestError::Unwritable);
                }
                self.variables.insert(name.clone(), value.to_owned());
                Ok(())
            }
            Carrier::Member(kind, path) => {
                self.body = Some(*kind);
                match kind {
                    BodyKind::Json | BodyKind::Xml => {
                        put_member(&mut self.members, path.names(), value)
                    }
                    BodyKind::Form | BodyKind::Multipart => {
                        self.members.insert(path.names().join("."), value.into());
                    }
                }
                Ok(())
            }
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
        if !self.cookies.is_empty() {
            let cookies = self.cookies.join("; ");
            self.field(COOKIE, &cookies)?;
        }
        let (body, content_type) = match self.body {
            None => (Bytes::new(), None),
            Some(BodyKind::Json) => {
                // Texts as keys and values can always be written as JSON.
                let body = serde_json::to_vec(&self.members).unwrap_or_default();
                (body.into(), Some("application/json".to_owned()))
            }
            Some(BodyKind::Form) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, value) in &self.members {
                    form.append_pair(name, value.as_str().unwrap_or_default());
                }
                let content_type = "application/x-www-form-urlencoded".to_owned();
                (form.finish().into(), Some(content_type))
            }
            Some(BodyKind::Multipart) => multipart(&self.members),
            Some(BodyKind::Xml) => {
                let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
                self.members.iter().for_each(|(name, value)| write_element(name, value, &mut body));
                (body.into(), Some("text/xml; charset=utf-8".to_owned()))
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
        let (endpoint, method) = (self.endpoint, self.endpoint.method.clone());
        Ok(ClientRequest { endpoint, method, path, headers: self.headers, body })
    }
}

/// Puts a text at a path. No path is on the way to another one; `check` has made sure of that.
fn put_member(members: &mut Map<String, Value>, path: &[String], value: &str) {
    match path {
        [] => {}
        [name] => drop(members.insert(name.clone(), value.into())),
        [name, rest @ ..] => {
            let inner = members.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put_member(inner, rest, value);
            }
        }
    }
}

/// Writes an element with its attributes and what is in it.
fn write_element(name: &str, value: &Value, xml: &mut String) {
    xml.push_str(&format!("<{name}"));
    let empty = Map::new();
    let members = value.as_object().unwrap_or(&empty);
    for (name, value) in members {
        if let (Some(name), Some(text)) = (name.strip_prefix('@'), value.as_str()) {
            xml.push_str(&format!(" {name}=\"{}\"", escape_xml(text)));
        }
    }
    xml.push('>');
    if let Some(text) = members.get(TEXT).and_then(Value::as_str) {
        xml.push_str(&escape_xml(text));
    }
    for (name, value) in members.iter().filter(|(name, _)| !name.starts_with(['@', '#'])) {
        write_element(name, value, xml);
    }
    xml.push_str(&format!("</{name}>"));
}

/// A body of parts (RFC 7578). The boundary is a digest of the values, so that none contains it.
fn multipart(members: &Map<String, Value>) -> (Bytes, Option<String>) {
    let texts: Vec<&[u8]> =
        members.values().map(|value| value.as_str().unwrap_or_default().as_bytes()).collect();
    let boundary = format!("tollhouse-{:?}", Digest::of_list(&texts));
    let mut body = String::new();
    for (name, value) in members {
        let name = name.replace('"', "%22").replace(['\r', '\n'], "");
        let value = value.as_str().unwrap_or_default();
        body.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    (body.into(), Some(format!("multipart/form-data; boundary={boundary}")))
}
