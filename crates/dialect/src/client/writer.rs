//! Writing a request: values are put into the carriers that the dialect names.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};

use super::values::is_token;
use super::{ClientRequest, RequestError};
use crate::body::BodyFormat;
use crate::carrier::Carrier;
use crate::credential::{NameOrigin, NameSource};
use crate::definition::Endpoint;
use crate::member::MemberPath;
use crate::member_tree::MemberTree;
use crate::octets::is_cookie_octet;
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
    body: Option<BodyFormat>,
    members: Vec<(MemberPath, SecretString)>,
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
            members: Vec::new(),
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
                if !value.bytes().all(is_cookie_octet) {
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
                self.members.push((path.clone(), value.into()));
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
            Some(BodyFormat::Json) => {
                let texts =
                    self.members.iter().map(|(path, value)| (path, value.expose().as_str()));
                let tree = MemberTree::build(texts).ok_or(RequestError::NoEndpoint)?;
                // Texts as keys and values can always be written as JSON.
                let body = serde_json::to_vec(&tree).unwrap_or_default();
                (body.into(), Some("application/json".to_owned()))
            }
            Some(BodyFormat::Form) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (path, value) in &self.members {
                    form.append_pair(&path.names().join("."), value.expose());
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
fn xml(members: &[(MemberPath, SecretString)]) -> Result<String, RequestError> {
    // An element that has attributes has its text beside them.
    let named: Option<Vec<(MemberPath, &str)>> = members
        .iter()
        .map(|(path, value)| {
            let mut names = path.names().to_vec();
            if names.last().is_some_and(|name| !name.starts_with('@')) {
                names.push(TEXT.to_owned());
            }
            Some((MemberPath::new(names)?, value.expose().as_str()))
        })
        .collect();
    let named = named.ok_or(RequestError::NoEndpoint)?;
    let texts = named.iter().map(|(path, value)| (path, *value));
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
fn multipart(members: &[(MemberPath, SecretString)]) -> (Bytes, Option<String>) {
    let texts: Vec<&[u8]> = members.iter().map(|(_, value)| value.expose().as_bytes()).collect();
    let boundary = format!("tollhouse-{:?}", Digest::of_list(&texts));
    let mut body = String::new();
    for (path, value) in members {
        let name = path.names().join(".").replace('"', "%22").replace(['\r', '\n'], "");
        let value = value.expose();
        body.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    (body.into(), Some(format!("multipart/form-data; boundary={boundary}")))
}
