//! Requests and replies of examples as text: a first line, fields, an empty line, a body.
//!
//! The text is what `curl -i` and the tools of browsers show, except that the version of HTTP may be
//! left out. Of the body's last line the end is not part of it, since the text of a TOML file ends
//! there anyway.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::pattern::{ExamplePattern, ExampleValues};

/// The request of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleRequest {
    method: Method,
    target: ExamplePattern,
    fields: Vec<ExampleField>,
    body: Option<ExamplePattern>,
}

/// A field of a request or a reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExampleField {
    pub(super) name: HeaderName,
    pub(super) value: ExamplePattern,
}

/// A text in its parts.
pub(super) struct HttpText<'t> {
    pub(super) first_line: &'t str,
    pub(super) fields: Vec<ExampleField>,
    /// `None` if there is no empty line.
    pub(super) body: Option<&'t str>,
}

impl<'t> HttpText<'t> {
    /// # Errors
    /// A message that names the faulty line.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let (head, body) = match text.split_once("\n\n") {
            Some((head, body)) => (head, Some(body.strip_suffix('\n').unwrap_or(body))),
            None => (text, None),
        };
        let mut lines = head.lines();
        let first_line = lines.next().unwrap_or_default().trim_end();
        let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
        Ok(Self { first_line, fields, body })
    }
}

fn parse_field(line: &str) -> Result<ExampleField, String> {
    let faulty = || format!("has the line `{line}`, which is no field: write `Name: value`");
    let (name, value) = line.split_once(':').ok_or_else(faulty)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| faulty())?;
    Ok(ExampleField { name, value: ExamplePattern::parse(value.trim())? })
}

impl ExampleRequest {
    /// Reads `POST /login`, fields and a body.
    ///
    /// # Errors
    /// A message that says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let HttpText { first_line, fields, body } = HttpText::parse(text)?;
        let faulty = || format!("begins with `{first_line}`: the first line is like `POST /login`");
        let mut words = first_line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(faulty());
        };
        let is_version = |word: &str| word.starts_with("HTTP/");
        if !target.starts_with('/') || !words.next().is_none_or(is_version) {
            return Err(faulty());
        }
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| faulty())?;
        let target = ExamplePattern::parse(target)?;
        let body = body.map(ExamplePattern::parse).transpose()?;
        Ok(Self { method, target, fields, body })
    }

    /// The method and the target as they are written.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target.fill(&ExampleValues::new()))
    }

    /// The names of the values that the request needs.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let values = self.fields.iter().map(|field| &field.value);
        let all = std::iter::once(&self.target).chain(values).chain(&self.body);
        all.flat_map(ExamplePattern::names)
    }

    /// The request with the known values, to `origin` (`http://127.0.0.1:8080`).
    ///
    /// # Errors
    /// A message if a value does not fit its place.
    pub fn fill(&self, origin: &str, known: &ExampleValues) -> Result<Request<Bytes>, String> {
        let target = format!("{origin}{}", self.target.fill(known));
        let target = target.parse::<Uri>().map_err(|error| format!("`{target}`: {error}"))?;
        let body = self.body.as_ref().map(|body| body.fill(known)).unwrap_or_default();
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target;
        for field in &self.fields {
            let value = field.value.fill(known);
            let value = HeaderValue::from_str(&value)
                .map_err(|_| format!("the field `{}` cannot have that value", field.name))?;
            request.headers_mut().append(field.name.clone(), value);
        }
        Ok(request)
    }
}
