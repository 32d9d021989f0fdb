//! Templates of bodies: JSON, a form, plain text or XML, compiled.
//!
//! A placeholder's value is written so that it cannot break out of its place: as a JSON value, a parameter
//! of a form, or escaped where the body is XML or HTML.

use bytes::Bytes;
use http::header::HeaderValue;
use serde_json::{Map, Value};

use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::template::{TemplateNode, TextPart, ValueLookup};
use super::xml_text::escape_xml;

/// Initial capacity of a body, in bytes.
const CAPACITY: usize = 256;

/// A body as it is written: one of these keys, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawBody {
    pub(crate) json: Option<Value>,
    pub(crate) form: Option<Map<String, Value>>,
    pub(crate) text: Option<String>,
    pub(crate) xml: Option<String>,
}

/// A body with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BodyTemplate {
    /// The same bytes every time.
    Fixed(Bytes, FixedKind),
    Json(TemplateNode),
    Form(Vec<(String, TemplateNode)>),
    Text(Vec<TextPart>),
    /// A text in which placeholders are escaped, for XML and HTML.
    Markup(Vec<TextPart>),
}

/// The form in which a body without placeholders was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixedKind {
    Json,
    Form,
    Text,
    Markup,
}

/// The media type of a body where none is named.
pub(crate) fn default_type(raw: &RawBody) -> HeaderValue {
    HeaderValue::from_static(match raw {
        RawBody { text: Some(_), .. } => "text/plain; charset=utf-8",
        RawBody { xml: Some(_), .. } => "application/xml; charset=utf-8",
        RawBody { form: Some(_), .. } => "application/x-www-form-urlencoded",
        _ => "application/json",
    })
}

/// True for media types in which `<` and `&` have a meaning.
fn is_markup(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.ends_with("html") || essence.ends_with("/xml") || essence.ends_with("+xml")
}

impl BodyTemplate {
    /// Compiles a body whose media type is `content_type`; `None` if there is none.
    pub(crate) fn check(
        raw: RawBody,
        content_type: &HeaderValue,
        scope: PlaceholderScope,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Option<Self> {
        let forms = [raw.json.is_some(), raw.form.is_some(), raw.text.is_some(), raw.xml.is_some()];
        if forms.iter().filter(|is_there| **is_there).count() > 1 {
            problems.add(at, "", "has several bodies; keep one of json, form, text, xml");
        }
        if let Some(json) = raw.json {
            return Some(Self::Json(TemplateNode::compile(
                json,
                scope,
                &format!("{at}.json"),
                problems,
            )));
        }
        if let Some(form) = raw.form {
            let compile = |(name, value)| {
                let at = format!("{at}.form.{name}");
                (name, TemplateNode::compile(value, scope, &at, problems))
            };
            return Some(Self::Form(form.into_iter().map(compile).collect()));
        }
        let (text, key, is_escaped) = match (raw.text, raw.xml) {
            (Some(text), _) => (text, "text", is_markup(content_type)),
            (None, Some(xml)) => (xml, "xml", true),
            (None, None) => return None,
        };
        let parts = TextPart::compile(&text, scope, &format!("{at}.{key}"), problems);
        Some(if is_escaped { Self::Markup(parts) } else { Self::Text(parts) })
    }

    /// The body under this media type: a text that is sent as HTML is escaped as HTML.
    pub(crate) fn of_type(self, content_type: &HeaderValue) -> Self {
        match self {
            Self::Text(parts) if is_markup(content_type) => Self::Markup(parts),
            other => other,
        }
    }

    /// The body with what is known already filled in; see `TemplateNode::fold`.
    pub(crate) fn fold(self, look: ValueLookup<'_>) -> Self {
        let folded = match self {
            Self::Json(node) => Self::Json(node.fold(look)),
            Self::Form(members) => Self::Form(
                members.into_iter().map(|(name, node)| (name, node.fold(look))).collect(),
            ),
            Self::Text(parts) => Self::Text(TextPart::fold(parts, look, str::to_owned)),
            Self::Markup(parts) => {
                Self::Markup(TextPart::fold(parts, look, |text| escape_xml(text).into_owned()))
            }
            fixed @ Self::Fixed(..) => fixed,
        };
        let is_text = |parts: &[TextPart]| parts.iter().all(|it| matches!(it, TextPart::Text(_)));
        let kind = match &folded {
            Self::Json(TemplateNode::Fixed(_)) => FixedKind::Json,
            Self::Form(members)
                if members.iter().all(|(_, node)| matches!(node, TemplateNode::Fixed(_))) =>
            {
                FixedKind::Form
            }
            Self::Text(parts) if is_text(parts) => FixedKind::Text,
            Self::Markup(parts) if is_text(parts) => FixedKind::Markup,
            _ => return folded,
        };
        Self::Fixed(folded.render(&|_| None), kind)
    }

    /// Renders the body.
    pub(crate) fn render(&self, look: ValueLookup<'_>) -> Bytes {
        match self {
            Self::Fixed(bytes, _) => bytes.clone(),
            Self::Json(node) => {
                let mut body = Vec::with_capacity(CAPACITY);
                node.write(look, &mut body);
                body.into()
            }
            Self::Form(members) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, node) in members {
                    form.append_pair(name, &text_of(node.render(look, false)));
                }
                form.finish().into()
            }
            Self::Text(parts) => {
                parts.iter().map(|part| part.render(look)).collect::<String>().into()
            }
            Self::Markup(parts) => {
                let render = |part: &TextPart| match part {
                    TextPart::Text(text) => text.clone(),
                    place @ TextPart::Place(..) => escape_xml(&place.render(look)).into_owned(),
                };
                parts.iter().map(render).collect::<String>().into()
            }
        }
    }

    /// The template of a JSON body, for reading an answer backwards.
    pub(crate) fn json(&self) -> Option<&TemplateNode> {
        match self {
            Self::Json(node) => Some(node),
            _ => None,
        }
    }

    /// All placeholders that occur in it.
    pub(crate) fn places<'t>(&'t self, found: &mut Vec<&'t Placeholder>) {
        match self {
            Self::Fixed(..) => {}
            Self::Json(node) => node.places(found),
            Self::Form(members) => members.iter().for_each(|(_, node)| node.places(found)),
            Self::Text(parts) | Self::Markup(parts) => TextPart::places(parts, found),
        }
    }
}

/// A value as a parameter of a form.
pub(crate) fn text_of(value: Option<Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}
