//! Texts in XML and HTML.
//!
//! An escaped text can stand between tags and in the quoted value of an attribute of both. It is
//! not enough inside `<script>`, `<style>`, a comment, a name, or an attribute without quotes.

use std::borrow::Cow;

/// Escapes a text so that a parser of XML or HTML reads the same text from it. Characters that
/// XML 1.0 cannot contain, such as controls, become U+FFFD, because a parser would refuse the whole
/// document.
pub(crate) fn escape_xml(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| replacement(character).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match replacement(character) {
            Some(replacement) => escaped.push_str(replacement),
            None => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// The text that `escape_xml` made `escaped` of. Other references stay as they are.
pub(crate) fn unescape_xml(escaped: &str) -> Cow<'_, str> {
    if !escaped.contains('&') {
        return Cow::Borrowed(escaped);
    }
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, reference)) = rest.split_once('&') {
        text.push_str(before);
        let known = ESCAPED.chars().find_map(|character| {
            let name = replacement(character)?.strip_prefix('&')?;
            Some((character, reference.strip_prefix(name)?))
        });
        rest = match known {
            Some((character, after)) => {
                text.push(character);
                after
            }
            None => {
                text.push('&');
                reference
            }
        };
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The characters that are written as a reference.
const ESCAPED: &str = "&<>\"'\t\n\r";

fn replacement(character: char) -> Option<&'static str> {
    match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        // Only needed after `]]`, where XML does not allow it.
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        // HTML has had the name `&apos;` only since version 5.
        '\'' => Some("&#39;"),
        // Parsers turn a carriage return into a line feed, and all three into spaces in an
        // attribute, unless they are references (XML 1.0, sections 2.11 and 3.3.3).
        '\t' => Some("&#9;"),
        '\n' => Some("&#10;"),
        '\r' => Some("&#13;"),
        // All others that are no `Char` (XML 1.0, section 2.2).
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => Some("\u{fffd}"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roxmltree::Document;

    use super::*;

    #[test]
    fn a_plain_text_is_not_copied() {
        assert!(matches!(escape_xml("Grüße, 世界 \u{7f}"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_text_cannot_leave_its_place() {
        assert_eq!(
            escape_xml("</name><admin a='1' b=\"2\">&amp;]]>"),
            "&lt;/name&gt;&lt;admin a=&#39;1&#39; b=&quot;2&quot;&gt;&amp;amp;]]&gt;"
        );
        assert_eq!(escape_xml("a\0b\u{1b}c\u{ffff}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(escape_xml("\t\r\n"), "&#9;&#13;&#10;");
    }

    /// Texts with many characters that have a meaning in markup.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            any::<char>().prop_map(|character| character.to_string()),
            "[<>&\"'/!\\[\\]\r\n\t\0\u{b}\u{85}\u{fffe}-]",
            Just("]]>".to_owned()),
            Just("&#x41;".to_owned()),
            Just("<!--".to_owned()),
        ];
        prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn an_escaped_text_parses_back_to_itself(text in text()) {
            let escaped = escape_xml(&text);
            let allowed = text.replace(
                |character| matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}'
                    | '\u{fffe}' | '\u{ffff}'),
                "\u{fffd}",
            );
            let written = format!("<a b=\"{escaped}\" c='{escaped}'>{escaped}</a>");

            let document = Document::parse(&written).expect("well-formed");

            let element = document.root_element();
            prop_assert_eq!(element.attribute("b"), Some(allowed.as_str()));
            prop_assert_eq!(element.attribute("c"), Some(allowed.as_str()));
            prop_assert_eq!(element.text().unwrap_or_default(), &allowed);
            prop_assert_eq!(unescape_xml(&escaped), allowed.as_str());
            prop_assert_eq!(element.children().filter(|child| !child.is_text()).count(), 0);
        }

        #[test]
        fn an_escaped_text_opens_nothing(text in text()) {
            let escaped = escape_xml(&text);

            prop_assert!(!escaped.contains(['<', '>', '"', '\'', '\0']));
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;", "#9;", "#10;", "#13;"];
            for reference in escaped.split('&').skip(1) {
                prop_assert!(known.iter().any(|known| reference.starts_with(known)));
            }
        }
    }
}
