//! The body of a template, read backwards: from the bytes of an answer to the values in it.
//!
//! JSON, forms and XML are compared as trees, so that spaces, the order of members and the prefixes
//! of namespaces mean nothing. Texts, and XML that no parser takes, such as HTML, are compared
//! character by character.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::match_template::{ExtractedValues, NeededPlaces};
use crate::body::{BodyFormat, TEXT, read_answer};
use crate::body_template::{BodyTemplate, FixedKind, text_of};
use crate::placeholders::Placeholder;
use crate::template::{TemplateNode, TextPart};
use crate::xml_text::unescape_xml;

/// Stands before and behind the number of a placeholder in XML that is parsed. It is for private use,
/// so no template has it.
const MARK: char = '\u{f8ff}';

/// The body of an answer, as the dialect has it.
#[derive(Debug)]
pub(super) enum BodyPattern<'t> {
    Empty,
    Tree(BodyFormat, Cow<'t, TemplateNode>),
    Text(Cow<'t, [TextPart]>),
    /// A text in which the values are escaped.
    Markup(Cow<'t, [TextPart]>),
}

/// The values in a body, and the body itself where it is a tree.
#[derive(Debug, Default)]
pub(super) struct ReadBody {
    pub(super) found: ExtractedValues,
    pub(super) tree: Value,
}

impl<'t> BodyPattern<'t> {
    /// The pattern of a template; `None` stands for an empty body.
    pub(super) fn of(template: Option<&'t BodyTemplate>) -> Self {
        match template {
            None => Self::Empty,
            Some(BodyTemplate::Json(node)) => Self::Tree(BodyFormat::Json, Cow::Borrowed(node)),
            Some(BodyTemplate::Form(members)) => {
                Self::Tree(BodyFormat::Form, Cow::Owned(form_node(members)))
            }
            Some(BodyTemplate::Text(parts)) => Self::Text(Cow::Borrowed(parts)),
            Some(BodyTemplate::Markup(parts)) => match xml_node(parts) {
                Some(node) => Self::Tree(BodyFormat::Xml, Cow::Owned(node)),
                None => Self::Markup(Cow::Borrowed(parts)),
            },
            Some(BodyTemplate::Fixed(bytes, kind)) => {
                Self::fixed(&String::from_utf8_lossy(bytes), *kind)
            }
        }
    }

    fn fixed(text: &str, kind: FixedKind) -> Self {
        let format = match kind {
            FixedKind::Json => Some(BodyFormat::Json),
            FixedKind::Form => Some(BodyFormat::Form),
            FixedKind::Markup => Some(BodyFormat::Xml),
            FixedKind::Text => None,
        };
        let tree = format.and_then(|format| Some((format, tree(format, text)?)));
        match tree {
            Some((format, tree)) => {
                Self::Tree(format, Cow::Owned(TemplateNode::Fixed(comparable(format, tree))))
            }
            None => Self::Text(Cow::Owned(vec![TextPart::Text(text.to_owned())])),
        }
    }

    /// Reads a body as something rendered from this pattern; `None` if it cannot have been.
    pub(super) fn read(&self, body: &[u8], needed: NeededPlaces<'_>) -> Option<ReadBody> {
        let text = std::str::from_utf8(body).ok()?;
        let (parts, is_escaped) = match self {
            Self::Empty => {
                return text.is_empty().then(ReadBody::default);
            }
            Self::Tree(format, node) => {
                let tree = tree(*format, text)?;
                let found = match format {
                    BodyFormat::Xml => {
                        ExtractedValues::read(node, &comparable(*format, tree.clone()), needed)
                    }
                    _ => ExtractedValues::read(node, &tree, needed),
                };
                return Some(ReadBody { found: found?, tree });
            }
            Self::Text(parts) => (parts, false),
            Self::Markup(parts) => (parts, true),
        };
        // Some servers end a text with a line break, and some documents about them leave it out.
        let mut found = ExtractedValues::of_text(parts, text)
            .or_else(|| ExtractedValues::of_text(parts, text.trim_end_matches(['\r', '\n'])))?;
        if is_escaped {
            found.map_texts(|text| unescape_xml(text).into_owned());
        }
        Some(ReadBody { found, tree: Value::Null })
    }

    /// True if the placeholder occurs where it can be read.
    pub(super) fn names(&self, wanted: &Placeholder) -> bool {
        let mut places = Vec::new();
        match self {
            Self::Empty => {}
            Self::Tree(_, node) => node.places(&mut places),
            Self::Text(parts) | Self::Markup(parts) => TextPart::places(parts, &mut places),
        }
        places.contains(&wanted)
    }
}

/// The members of a body of this format.
fn tree(format: BodyFormat, text: &str) -> Option<Value> {
    // An empty body is a form without members to a parser, and no answer of anybody's.
    if text.is_empty() { None } else { read_answer(format, text) }
}

/// A tree in which every XML element has the same form, whether it has attributes or not: members,
/// and its text as one of them.
fn comparable(format: BodyFormat, tree: Value) -> Value {
    if format != BodyFormat::Xml {
        return tree;
    }
    match tree {
        Value::Object(members) => {
            let is_text = |name: &str| name == TEXT || name.starts_with('@');
            let mut all = Map::new();
            for (name, value) in members {
                let is_layout = name == TEXT && value.as_str().is_some_and(is_blank);
                if !is_layout {
                    let value = if is_text(&name) { value } else { comparable(format, value) };
                    all.insert(name, value);
                }
            }
            Value::Object(all)
        }
        Value::String(text) if is_blank(&text) => Value::Object(Map::new()),
        Value::String(text) => {
            Value::Object(Map::from_iter([(TEXT.to_owned(), Value::String(text))]))
        }
        Value::Array(items) => items.into_iter().map(|item| comparable(format, item)).collect(),
        other => other,
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// A form as an object of texts.
fn form_node(members: &[(String, TemplateNode)]) -> TemplateNode {
    let member = |(name, node): &(String, TemplateNode)| {
        let node = match node {
            TemplateNode::Fixed(value) => TemplateNode::Fixed(text_of(Some(value.clone())).into()),
            TemplateNode::Place(..) | TemplateNode::Text(_) => node.clone(),
            // JSON inside of a form is not read back.
            TemplateNode::List(_) | TemplateNode::Object(_) => return None,
        };
        Some((name.clone(), node))
    };
    TemplateNode::Object(members.iter().filter_map(member).collect())
}

/// The tree of an XML template; `None` if it cannot be parsed, or has placeholders in names.
fn xml_node(parts: &[TextPart]) -> Option<TemplateNode> {
    let mut text = String::new();
    for (number, part) in parts.iter().enumerate() {
        match part {
            TextPart::Text(fixed) if fixed.contains(MARK) => return None,
            TextPart::Text(fixed) => text.push_str(fixed),
            TextPart::Place(..) => text.push_str(&format!("{MARK}{number}{MARK}")),
        }
    }
    let tree = comparable(BodyFormat::Xml, tree(BodyFormat::Xml, &text)?);
    marked_node(&tree, parts)
}

fn marked_node(tree: &Value, parts: &[TextPart]) -> Option<TemplateNode> {
    match tree {
        Value::String(text) => marked_text(text, parts),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let node = marked_node(value, parts)?;
                (!name.contains(MARK)).then(|| (name.clone(), node))
            };
            Some(TemplateNode::Object(members.iter().map(member).collect::<Option<_>>()?))
        }
        Value::Array(items) => {
            let nodes = items.iter().map(|item| marked_node(item, parts));
            Some(TemplateNode::List(nodes.collect::<Option<_>>()?))
        }
        other => Some(TemplateNode::Fixed(other.clone())),
    }
}

fn marked_text(text: &str, parts: &[TextPart]) -> Option<TemplateNode> {
    if !text.contains(MARK) {
        return Some(TemplateNode::Fixed(text.into()));
    }
    let mut found = Vec::new();
    for (at, piece) in text.split(MARK).enumerate() {
        // Every other piece is between two marks.
        if at % 2 == 1 {
            found.push(parts.get(piece.parse::<usize>().ok()?)?.clone());
        } else if !piece.is_empty() {
            found.push(TextPart::Text(piece.to_owned()));
        }
    }
    match found.as_slice() {
        [TextPart::Place(place, join)] => Some(TemplateNode::Place(place.clone(), *join)),
        _ => Some(TemplateNode::Text(found)),
    }
}
