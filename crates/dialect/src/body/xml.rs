//! XML 1.0, as far as logins need it.
//!
//! An element with children or attributes becomes members: the children by their local names, the
//! attributes by theirs after an `@`, and the text of an element with attributes as `#text`. An
//! element with neither is a text. Namespaces must be declared and are dropped, so two members that
//! differ only in their prefix are refused as repeated.
//!
//! There is no document type, so there are no entities but the five that XML itself has, and no
//! processing instruction; encodings other than UTF-8 are refused. A comment inside a text is
//! refused too: readers that take only the text before it would see another credential.
//!
//! `roxmltree` parses. It checks nearly all of well-formedness and never fetches anything, but it
//! looks through lists for attributes and namespaces. `is_strict_and_small` keeps those lists short
//! and checks the rest.

use roxmltree::{Document, Node, NodeType, ParsingOptions};

use super::value::{BodyValue, Members, UniqueMembers};
use tollhouse_core::secret::SecretString;

/// The member with the text of an element that has attributes as well.
pub(crate) const TEXT: &str = "#text";

/// Greatest nesting of elements. A SOAP login with a security header needs six levels.
const DEEPEST: usize = 32;
const MOST_ELEMENTS: usize = 16 * 1024;
/// Most attributes of one element. Each is compared with all others of its element.
const MOST_ATTRIBUTES: usize = 256;
/// Most declarations of namespaces in the document. Each element that has one copies those of the
/// elements around it.
const MOST_NAMESPACES: usize = 256;

const BYTE_ORDER_MARK: char = '\u{feff}';
const XMLNS: &str = "xmlns";
const WHITESPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// What becomes of elements of one name that stand side by side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RepeatedElements {
    /// The document is refused. In a request, two readers could take different ones.
    Refused,
    /// They become a list. In an answer, only the gateway reads them.
    Listed,
}

/// Reads a document; its only member is the outermost element. `None` if it is not well-formed, or
/// has more than elements, attributes and texts.
pub(super) fn read(text: &str, repeated: RepeatedElements) -> Option<Members> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = skip_declaration(text)?;
    // The parser would skip a second mark.
    if text.starts_with(BYTE_ORDER_MARK) || !is_strict_and_small(text) {
        return None;
    }
    // Line ends are made equal before anything else is parsed (XML 1.0, section 2.11).
    let text = SecretString::new(text.replace("\r\n", "\n").replace('\r', "\n"));
    let text = text.expose();
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).ok()?;
    let outermost = document.root_element();
    Some(vec![(outermost.tag_name().name().to_owned(), element(outermost, repeated)?)])
}

/// Reads an element. The recursion is as deep as the elements, which `is_strict_and_small` has limited.
fn element(node: Node<'_, '_>, repeated: RepeatedElements) -> Option<BodyValue> {
    let mut members = UniqueMembers::default();
    for attribute in node.attributes() {
        members.add(format!("@{}", attribute.name()), BodyValue::text(attribute.value()))?;
    }
    let mut text = String::new();
    let mut has_elements = false;
    let mut has_comments = false;
    for child in node.children() {
        match child.node_type() {
            NodeType::Element => {
                has_elements = true;
                let (name, value) = (child.tag_name().name(), element(child, repeated)?);
                match repeated {
                    RepeatedElements::Refused => members.add(name, value)?,
                    RepeatedElements::Listed => members.collect(name, value),
                }
            }
            NodeType::Text => text.push_str(child.text()?),
            NodeType::Comment => has_comments = true,
            NodeType::Root | NodeType::PI => return None,
        }
    }
    if has_elements || has_comments {
        // Whitespace beside elements and comments is layout. Any other text there has no place
        // among the members.
        if !text.chars().all(|character| WHITESPACE.contains(&character)) {
            return None;
        }
        text.clear();
    }
    if !has_elements {
        let text = BodyValue::Text(text.into());
        if members.len() == 0 {
            return Some(text);
        }
        members.add(TEXT, text)?;
    }
    Some(BodyValue::Members(members.finish()))
}

/// The text after the XML declaration, if there is one. The parser does not look at the values of
/// the declaration.
fn skip_declaration(text: &str) -> Option<&str> {
    let Some(rest) = text.strip_prefix("<?xml") else { return Some(text) };
    let (mut declaration, rest) = rest.split_once("?>")?;
    let mut values = Vec::new();
    while !declaration.trim_start_matches(WHITESPACE).is_empty() {
        let (name, value, after) = declared_value(declaration)?;
        values.push((name, value));
        declaration = after;
    }
    let is_utf8 = |name: &str| name.eq_ignore_ascii_case("utf-8");
    let is_supported = match values.as_slice() {
        [("version", "1.0"), others @ ..] => match others {
            [] | [("standalone", "yes" | "no")] => true,
            [("encoding", name)] | [("encoding", name), ("standalone", "yes" | "no")] => {
                is_utf8(name)
            }
            _ => false,
        },
        _ => false,
    };
    is_supported.then_some(rest)
}

/// The next name and value in the declaration, and the text after them.
fn declared_value(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.strip_prefix(WHITESPACE)?.split_once('=')?;
    let rest = rest.trim_start_matches(WHITESPACE);
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (value, rest) = rest.strip_prefix(quote)?.split_once(quote)?;
    Some((name.trim_matches(WHITESPACE), value, rest))
}

/// Checks what the parser is lenient with, and what it would spend much time and memory on. A
/// document that the parser accepts is divided into tags here in the same way; one that it refuses
/// may be divided otherwise behind the mistake only.
fn is_strict_and_small(text: &str) -> bool {
    let mut rest = text;
    let mut depth = 0_usize;
    let mut elements = 0;
    let mut namespaces = 0;
    while let Some((data, markup)) = rest.split_once('<') {
        let after = if let Some(comment) = markup.strip_prefix("!--") {
            comment.split_once("-->").map(|(_, after)| after)
        } else if let Some(data) = markup.strip_prefix("![CDATA[") {
            data.split_once("]]>").map(|(_, after)| after)
        } else if let Some(end) = markup.strip_prefix('/') {
            depth = depth.saturating_sub(1);
            end.split_once('>').filter(|(name, _)| is_name(name)).map(|(_, after)| after)
        } else {
            // A document type or a processing instruction has no tag's form.
            StartTag::parse(markup).map(|tag| {
                elements += 1;
                namespaces += tag.namespaces;
                depth += usize::from(!tag.is_empty);
                tag.after
            })
        };
        let Some(after) = after.filter(|_| has_only_characters(data)) else { return false };
        if depth > DEEPEST || elements > MOST_ELEMENTS || namespaces > MOST_NAMESPACES {
            return false;
        }
        rest = after;
    }
    true
}

/// The tag at the beginning of an element, or of one without content.
struct StartTag<'t> {
    namespaces: usize,
    is_empty: bool,
    after: &'t str,
}

impl<'t> StartTag<'t> {
    /// Reads the tag behind its `<`. A `>` in the value of an attribute does not end it.
    fn parse(markup: &'t str) -> Option<Self> {
        let mut rest = markup;
        let mut names: Vec<&str> = Vec::new();
        loop {
            let (outside, mark) = rest.split_at(rest.find(['<', '>', '"', '\''])?);
            if names.is_empty() && !outside.split(WHITESPACE).next().is_some_and(is_name) {
                return None;
            }
            if let Some(after) = mark.strip_prefix('>') {
                let namespaces = names.iter().filter(|name| name.starts_with(XMLNS)).count();
                let is_empty = outside.ends_with('/');
                return Some(Self { namespaces, is_empty, after });
            }
            let name = outside.trim_end_matches(WHITESPACE).strip_suffix('=')?;
            let name = name.trim_end_matches(WHITESPACE).rsplit(WHITESPACE).next()?;
            let quote = mark.chars().next()?;
            let (value, after) = mark.strip_prefix(quote)?.split_once(quote)?;
            // The parser takes `a:xmlns` for `xmlns`, and accepts several of those in one tag and
            // prefixes that stand for nothing.
            let is_declared_before = name == XMLNS && names.contains(&name);
            let is_undeclared = name.starts_with("xmlns:") && value.is_empty();
            if !is_name(name) || name.ends_with(":xmlns") || is_declared_before || is_undeclared {
                return None;
            }
            names.push(name);
            if names.len() > MOST_ATTRIBUTES || !has_only_characters(value) {
                return None;
            }
            rest = after;
        }
    }
}

/// False for a name with an empty prefix, which the parser drops, and for what begins a document
/// type or a processing instruction. The parser checks all else.
fn is_name(name: &str) -> bool {
    !name.starts_with([':', '!', '?'])
}

/// True if all references by number are characters. The parser replaces those that are not.
fn has_only_characters(text: &str) -> bool {
    text.split("&#").skip(1).all(|reference| {
        let number =
            reference.split_once(';').and_then(|(number, _)| match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => number.parse().ok(),
            });
        number.and_then(char::from_u32).is_some()
    })
}
