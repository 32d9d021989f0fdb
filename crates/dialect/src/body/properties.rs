//! Properties of every body reader: it never panics, it reads back the values that were written, and
//! it refuses a repeated name.

use http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Number, Value};

use super::*;
use crate::xml_text::escape_xml;

const KINDS: [BodyFormat; 4] =
    [BodyFormat::Json, BodyFormat::Form, BodyFormat::Multipart, BodyFormat::Xml];

fn read(kind: BodyFormat, body: &[u8]) -> Result<ParsedBody, Reason> {
    let content_type = match kind {
        BodyFormat::Json => "application/json",
        BodyFormat::Form => FORM_TYPE,
        BodyFormat::Multipart => "multipart/form-data; boundary=\"B 1\"",
        BodyFormat::Xml => "text/xml",
    };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
    let accepts = AcceptedBodies { kinds: vec![kind], ..AcceptedBodies::default() };
    Ok(ParsedBody::read(&headers, body, &accepts)?)
}

fn root(kind: BodyFormat, body: &str) -> Option<BodyValue> {
    read(kind, body.as_bytes()).ok().map(|body| body.root)
}

/// Members with different names.
fn unique<V>(members: Vec<(String, V)>) -> Vec<(String, V)> {
    let mut seen = std::collections::HashSet::new();
    members.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect()
}

fn json_value() -> impl Strategy<Value = BodyValue> {
    let leaf = prop_oneof![
        Just(BodyValue::Null),
        any::<String>().prop_map(|text| BodyValue::text(&text)),
        any::<bool>().prop_map(BodyValue::Flag),
        any::<i64>().prop_map(|number| BodyValue::Number(number.into())),
        any::<u64>().prop_map(|number| BodyValue::Number(number.into())),
        // Divided by a power of two: exact both as text and as a number.
        any::<i32>().prop_map(|number| {
            let number = Number::from_f64(f64::from(number) / 8.0).expect("finite");
            BodyValue::Number(number)
        }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(BodyValue::List),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|members| BodyValue::Members(unique(members))),
        ]
    })
}

fn json(value: &BodyValue) -> Value {
    match value {
        BodyValue::Null => Value::Null,
        BodyValue::Text(text) => text.expose().as_str().into(),
        BodyValue::Flag(flag) => (*flag).into(),
        BodyValue::Number(number) => number.clone().into(),
        BodyValue::List(items) => items.iter().map(json).collect(),
        BodyValue::Members(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), json(value)));
            members.collect::<Map<_, _>>().into()
        }
    }
}

fn texts(members: &[(String, String)]) -> BodyValue {
    let text = |(name, text): &(String, String)| (name.clone(), BodyValue::text(text));
    BodyValue::Members(members.iter().map(text).collect())
}

fn form(members: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish()
}

fn multipart(members: &[(String, String)]) -> String {
    let part = |(name, text): &(String, String)| {
        format!("--B 1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    format!("{}--B 1--\r\n", members.iter().map(part).collect::<String>())
}

/// An element in the three forms that a reader makes of one.
fn element() -> impl Strategy<Value = BodyValue> {
    let name = "[a-zäé_][a-z0-9.-]{0,3}";
    let text = "[ -~\t\r\näé😀]{0,6}".prop_map(|text| BodyValue::text(&text));
    let attributes = vec(("@[a-zäé_][a-z0-9.-]{0,3}", text.clone()), 0..3);
    let leaf = (attributes.clone(), text).prop_map(|(mut members, text)| {
        if members.is_empty() {
            return text;
        }
        members.push((TEXT.to_owned(), text));
        BodyValue::Members(unique(members))
    });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        (attributes.clone(), vec((name, inner), 1..4)).prop_map(|(mut members, children)| {
            members.extend(children);
            BodyValue::Members(unique(members))
        })
    })
}

fn xml(name: &str, value: &BodyValue) -> String {
    let text = |value: &BodyValue| match value {
        BodyValue::Text(text) => escape_xml(text.expose()).into_owned(),
        other => panic!("a text: {other:?}"),
    };
    let BodyValue::Members(members) = value else {
        return format!("<n:{name} xmlns:n='urn:n'>{}</n:{name}>", text(value));
    };
    let mut attributes = String::new();
    let mut content = String::new();
    for (member, value) in members {
        if let Some(attribute) = member.strip_prefix('@') {
            attributes.push_str(&format!(" {attribute}=\"{}\"", text(value)));
        } else if member == TEXT {
            content.push_str(&text(value));
        } else {
            content.push_str(&format!("\n  {}<!-- x -->", xml(member, value)));
        }
    }
    format!("<{name}{attributes}>{content}</{name}>")
}

/// Names and texts that can stand in every format as they are.
fn plain_members() -> impl Strategy<Value = Vec<(String, String)>> {
    vec(("[a-z][a-z0-9]{0,4}", "[a-zA-Z0-9]{0,8}"), 1..6).prop_map(unique)
}

fn write(kind: BodyFormat, members: &[(String, String)]) -> String {
    let members_of_json = |(name, text): &(String, String)| format!("\"{name}\":\"{text}\"");
    let elements = |(name, text): &(String, String)| format!("<{name}>{text}</{name}>");
    match kind {
        BodyFormat::Json => {
            format!("{{{}}}", members.iter().map(members_of_json).collect::<Vec<_>>().join(","))
        }
        BodyFormat::Form => form(members),
        BodyFormat::Multipart => multipart(members),
        BodyFormat::Xml => format!("<r>{}</r>", members.iter().map(elements).collect::<String>()),
    }
}

/// Pieces of all formats, which together are often nearly well-formed.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: &[&str] = &[
        "<a>",
        "</a>",
        "<a b='c'/>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?xml ",
        "?>",
        "&amp;",
        "&#",
        ";",
        "<!DOCTYPE a",
        "xmlns:a='b'",
        "{\"a\":",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "\\u0061",
        "1e9",
        "%",
        "%c3",
        "+",
        "&",
        "=",
        "--B 1",
        "\r\n",
        "--",
        "Content-Disposition: form-data; name=\"",
        "\n",
        "\u{feff}",
        "ü",
        " ",
    ];
    let piece = prop_oneof![
        prop::sample::select(KNOWN).prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Looks at everything that a body that was read can be asked.
fn look_up(body: &ParsedBody) {
    for kind in KINDS {
        for text in ["a", "a.b", "a[0]", "a.@b", "a.#text"] {
            let path = MemberPath::parse(text).expect("a path");
            let value = body.value(kind, &path);
            let text = body.text(kind, &path);
            assert!(text.is_err() || value.is_some() || text == Ok(None));
            let _ = body.scalar(kind, &path);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..64), pieces in pieces()) {
        for kind in KINDS {
            for body in [&bytes, &pieces] {
                if let Ok(body) = read(kind, body) {
                    look_up(&body);
                }
            }
        }
    }

    #[test]
    fn no_change_of_a_body_makes_a_reader_panic(
        members in plain_members(),
        changes in vec((any::<prop::sample::Index>(), 0..3, any::<u8>()), 1..4),
    ) {
        for kind in KINDS {
            let mut bytes = write(kind, &members).into_bytes();
            for (at, change, byte) in &changes {
                let at = at.index(bytes.len());
                match change {
                    0 => bytes[at] = *byte,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *byte),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            if let Ok(body) = read(kind, &bytes) {
                look_up(&body);
            }
        }
    }

    #[test]
    fn no_content_type_makes_a_reader_panic(
        text in "(application|text|multipart)/[a-z-]{0,9}(;[ a-z]{0,3}=?[\"\\\\a-z]{0,4}){0,3}",
        bytes in vec(32_u8..=255, 0..24),
    ) {
        let accepts = AcceptedBodies {
            kinds: KINDS.to_vec(),
            media_types: vec!["text/x".to_owned(), "text/plain".to_owned(), FORM_TYPE.to_owned()],
        };
        for value in [text.as_bytes(), &bytes] {
            let Ok(value) = HeaderValue::from_bytes(value) else { continue };
            let headers = [(CONTENT_TYPE, value)].into_iter().collect();
            let _ = ParsedBody::read(&headers, b"{}", &accepts).map_err(Reason::from);
        }
    }

    #[test]
    fn json_is_read_as_it_was_written(members in vec((any::<String>(), json_value()), 0..4)) {
        let value = BodyValue::Members(unique(members));

        prop_assert_eq!(root(BodyFormat::Json, &json(&value).to_string()), Some(value));
    }

    #[test]
    fn a_form_is_read_as_it_was_written(
        members in vec((any::<String>(), any::<String>()), 0..6),
    ) {
        let members = unique(members);
        // `_charset_` says something about the other fields.
        prop_assume!(members.iter().all(|(name, _)| name != "_charset_"));
        let body = form(&members);
        prop_assert_eq!(root(BodyFormat::Form, &body), Some(texts(&members)));
    }

    /// Where this reader accepts a form, the usual lenient one reads the same from it.
    #[test]
    fn an_accepted_form_is_read_as_others_read_it(body in "[a-c=&+%0-9A-Fü]{1,16}") {
        if let Some(members) = form::read(&body) {
            let lenient: Vec<_> = form_urlencoded::parse(body.as_bytes())
                .map(|(name, text)| (name.into_owned(), BodyValue::text(&text)))
                .collect();
            prop_assert_eq!(members, lenient);
        }
    }

    #[test]
    fn a_multipart_form_is_read_as_it_was_written(
        members in vec(("[ -~&&[^\"%\\\\]]{0,6}|[äé😀]{1,3}", any::<String>()), 0..6),
    ) {
        let members = unique(members);
        prop_assume!(members.iter().all(|(_, text)| !text.contains("--B 1")));
        prop_assume!(members.iter().all(|(name, _)| name != "_charset_"));

        prop_assert_eq!(root(BodyFormat::Multipart, &multipart(&members)), Some(texts(&members)));
    }

    #[test]
    fn xml_is_read_as_it_was_written(value in element()) {
        let body = xml("root", &value);

        prop_assert_eq!(
            root(BodyFormat::Xml, &body),
            Some(BodyValue::Members(vec![("root".to_owned(), value)])),
            "{}", body
        );
    }

    #[test]
    fn a_repeated_name_is_refused(
        members in plain_members(),
        repeated in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        text in "[a-z]{0,3}",
    ) {
        for kind in KINDS {
            prop_assert!(root(kind, &write(kind, &members)).is_some());
            let mut members = members.clone();
            let (name, _) = members[repeated.index(members.len())].clone();
            members.insert(at.index(members.len() + 1), (name, text.clone()));

            let read = read(kind, write(kind, &members).as_bytes()).err();
            prop_assert_eq!(read, Some(Reason::MalformedRequest));
        }
    }
}
