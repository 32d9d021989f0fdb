use http::HeaderValue;
use serde_json::json;

use super::*;

mod multipart;
mod xml;

fn headers(types: &[&str]) -> HeaderMap {
    let value = |text: &&str| (CONTENT_TYPE, HeaderValue::from_str(text).expect("a field value"));
    types.iter().map(value).collect()
}

fn accepts(kinds: &[BodyFormat]) -> AcceptedBodies {
    AcceptedBodies { kinds: kinds.to_vec(), ..AcceptedBodies::default() }
}

fn path(text: &str) -> MemberPath {
    MemberPath::parse(text).expect("a path")
}

fn read(kind: BodyFormat, content_type: &str, body: &str) -> Result<ParsedBody, Reason> {
    Ok(ParsedBody::read(&headers(&[content_type]), body.as_bytes(), &accepts(&[kind]))?)
}

fn read_as(kind: BodyFormat, body: &str) -> Result<ParsedBody, Reason> {
    let content_type = match kind {
        BodyFormat::Json => "application/json",
        BodyFormat::Form => FORM_TYPE,
        BodyFormat::Multipart => "multipart/form-data; boundary=B",
        BodyFormat::Xml => "application/xml",
    };
    read(kind, content_type, body)
}

/// The text at a path, as text; the reason if the body or the value is refused.
fn text_at(kind: BodyFormat, body: &str, at: &str) -> Result<Option<String>, Reason> {
    let body = read_as(kind, body)?;
    Ok(body.text(kind, &path(at))?.map(|text| text.expose().clone()))
}

fn found(text: &str) -> Result<Option<String>, Reason> {
    Ok(Some(text.to_owned()))
}

#[track_caller]
fn assert_malformed(kind: BodyFormat, body: &str) {
    assert_eq!(read_as(kind, body).err(), Some(Reason::MalformedRequest), "{body}");
}

fn kind_of(
    types: &[&str],
    accepts: &AcceptedBodies,
    body: &str,
) -> Result<Option<BodyFormat>, Reason> {
    Ok(ParsedBody::read(&headers(types), body.as_bytes(), accepts)?.kind())
}

#[test]
fn the_content_type_says_how_a_body_is_read() {
    let all =
        accepts(&[BodyFormat::Json, BodyFormat::Form, BodyFormat::Multipart, BodyFormat::Xml]);
    for (content_type, body, kind) in [
        ("application/json", "{}", BodyFormat::Json),
        ("Application/JSON; Charset=\"UTF-8\"", "{}", BodyFormat::Json),
        ("application/json;charset=us-ascii", "{}", BodyFormat::Json),
        ("application/scim+json; v=1", "{}", BodyFormat::Json),
        ("application/x-www-form-urlencoded; charset=utf8", "a=b", BodyFormat::Form),
        ("multipart/form-data; boundary=\"a b\"", "--a b--", BodyFormat::Multipart),
        ("text/xml; charset=utf-8", "<a/>", BodyFormat::Xml),
        ("application/soap+xml; action=\"urn:login\"", "<a/>", BodyFormat::Xml),
    ] {
        assert_eq!(kind_of(&[content_type], &all, body), Ok(Some(kind)), "{content_type}");
    }
}

#[test]
fn a_type_that_the_endpoint_does_not_read_is_refused() {
    let json_and_form = accepts(&[BodyFormat::Json, BodyFormat::Form]);
    for types in [
        vec!["text/plain"],
        vec!["application/xml"],
        vec!["multipart/form-data; boundary=B"],
        vec!["application/+json"],
        vec!["application/jsonp"],
        vec!["text/json"],
        vec!["application/json; charset=utf-16"],
        vec!["application/json; charset=iso-8859-1"],
        vec!["application/json; charset=utf-8; charset=utf-7"],
        vec!["application/json, text/plain"],
        vec!["application/json", "application/json"],
        vec!["application/json", "application/x-www-form-urlencoded"],
        vec![""],
    ] {
        let read = kind_of(&types, &json_and_form, "{}");
        assert_eq!(read, Err(Reason::UnsupportedMediaType), "{types:?}");
    }
}

#[test]
fn without_a_content_type_the_only_kind_counts_or_json() {
    for (kinds, body, expected) in [
        (vec![BodyFormat::Json], "{}", Ok(Some(BodyFormat::Json))),
        (vec![BodyFormat::Form], "a=b", Ok(Some(BodyFormat::Form))),
        (vec![BodyFormat::Xml], "<a/>", Ok(Some(BodyFormat::Xml))),
        (vec![BodyFormat::Form, BodyFormat::Json], "{}", Ok(Some(BodyFormat::Json))),
        (vec![BodyFormat::Form, BodyFormat::Json], "a=b", Err(Reason::MalformedRequest)),
        (vec![BodyFormat::Form, BodyFormat::Xml], "a=b", Err(Reason::UnsupportedMediaType)),
        (vec![BodyFormat::Multipart], "--B--", Err(Reason::MalformedRequest)),
    ] {
        assert_eq!(kind_of(&[], &accepts(&kinds), body), expected, "{kinds:?} {body}");
    }
}

#[test]
fn an_empty_body_has_no_members_whatever_its_type() {
    for types in [vec![], vec!["image/png"], vec!["text/xml", "text/plain"]] {
        let body =
            ParsedBody::read(&headers(&types), b"", &accepts(&[BodyFormat::Json])).expect("empty");

        assert_eq!(body.kind(), None);
        assert!(body.value(BodyFormat::Json, &path("a")).is_none());
        assert_eq!(body.text(BodyFormat::Json, &path("a")), Ok(None));
    }
}

#[test]
fn json_comes_under_other_types_where_the_endpoint_says_so() {
    let own = AcceptedBodies {
        media_types: vec!["text/JSON".to_owned(), "application/vnd.x".to_owned()],
        ..accepts(&[BodyFormat::Json])
    };
    assert_eq!(kind_of(&["Text/json"], &own, "{}"), Ok(Some(BodyFormat::Json)));
    assert_eq!(kind_of(&["application/vnd.x;v=2"], &own, "{}"), Ok(Some(BodyFormat::Json)));
    assert_eq!(kind_of(&["text/plain"], &own, "{}"), Err(Reason::UnsupportedMediaType));

    let media_types = vec!["text/plain".to_owned(), FORM_TYPE.to_owned()];
    let lenient = AcceptedBodies { kinds: vec![BodyFormat::Json], media_types };
    for content_type in ["text/plain;charset=UTF-8", FORM_TYPE] {
        assert_eq!(kind_of(&[content_type], &lenient, "{}"), Ok(Some(BodyFormat::Json)));
    }
    assert_eq!(kind_of(&["text/html"], &lenient, "{}"), Err(Reason::UnsupportedMediaType));

    let both = AcceptedBodies { kinds: vec![BodyFormat::Json, BodyFormat::Form], ..lenient };
    assert_eq!(kind_of(&[FORM_TYPE], &both, "{\"a\":1}"), Ok(Some(BodyFormat::Form)));
}

#[test]
fn bytes_of_another_charset_are_refused() {
    let json = accepts(&[BodyFormat::Json]);
    for (content_type, body) in [
        ("application/json", b"{\"a\":\"\xfc\"}".as_slice()),
        ("application/json; charset=us-ascii", "{\"a\":\"ü\"}".as_bytes()),
    ] {
        let read = ParsedBody::read(&headers(&[content_type]), body, &json).map(|_| ());
        assert_eq!(read.map_err(Reason::from), Err(Reason::MalformedRequest), "{content_type}");
    }
    for (body, expected) in [
        ("_charset_=utf-8&a=b", None),
        ("_charset_=iso-8859-1&a=b", Some(Reason::UnsupportedMediaType)),
    ] {
        assert_eq!(read_as(BodyFormat::Form, body).err(), expected, "{body}");
    }
    assert!(read_as(BodyFormat::Json, "{\"_charset_\":\"x\"}").is_ok());
}

#[test]
fn members_of_json_are_found_by_their_paths() {
    let body = r#"{"a":{"b":[{"c":"x"},[true]]},"n":-1.5,"z":null,"e":"","a.b":"dot"}"#;
    let at = |at| text_at(BodyFormat::Json, body, at);

    assert_eq!(at("a.b[0].c"), found("x"));
    for missing in ["z", "z.a", "e", "q", "q.r", "a.q", "a.b[2]", "a.b[0].q"] {
        assert_eq!(at(missing), Ok(None), "{missing}");
    }
    for wrong in ["a", "n", "n.a", "a.b", "a.b.c", "a[0]", "a.b[1]", "a.b[1][0]", "e.x"] {
        assert_eq!(at(wrong), Err(Reason::MalformedRequest), "{wrong}");
    }

    let read = read_as(BodyFormat::Json, body).expect("read");
    let literal = MemberPath::new(vec!["a.b".to_owned()]).expect("a path");
    assert_eq!(read.scalar(BodyFormat::Json, &literal), Some(json!("dot")));
    assert_eq!(read.scalar(BodyFormat::Json, &path("n")), Some(json!(-1.5)));
    assert_eq!(read.scalar(BodyFormat::Json, &path("a.b[1][0]")), Some(json!(true)));
    assert_eq!(read.scalar(BodyFormat::Json, &path("e")), Some(json!("")));
    for none in ["z", "a", "a.b", "q", "n.a"] {
        assert_eq!(read.scalar(BodyFormat::Json, &path(none)), None, "{none}");
    }
    assert_eq!(read.value(BodyFormat::Json, &path("z")), Some(&BodyValue::Null));
    assert_eq!(read.value(BodyFormat::Form, &path("n")), None, "a body of another kind");
    assert_eq!(read.text(BodyFormat::Form, &path("n")), Ok(None), "a body of another kind");
}

#[test]
fn long_texts_are_no_scalars() {
    let scalar = |length: usize| {
        let body = json!({ "a": "x".repeat(length) }).to_string();
        read_as(BodyFormat::Json, &body).expect("read").scalar(BodyFormat::Json, &path("a"))
    };

    assert!(scalar(256).is_some());
    assert_eq!(scalar(257), None);
}

#[test]
fn json_that_two_readers_could_understand_differently_is_refused() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(read_as(BodyFormat::Json, &nested(crate::member::DEEPEST)).is_ok());

    for body in [
        " ",
        "null",
        "\"a\"",
        "{",
        "{}{}",
        "{} x",
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"x\":[{\"a\":{\"b\":1,\"b\":1}}]}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":1e999}",
        "\u{feff}{}",
        &nested(crate::member::DEEPEST + 1),
        &nested(100_000),
    ] {
        assert_malformed(BodyFormat::Json, body);
    }
}

#[test]
fn a_list_of_calls_is_refused() {
    let accepts = accepts(&[BodyFormat::Json]);
    let list = br#"[{"method":"user.login"},1,{"method":"x"}]"#;

    let refused =
        ParsedBody::read(&headers(&["application/json"]), list, &accepts).expect_err("a list");

    assert!(matches!(refused, BodyReadError::List), "{refused:?}");
    assert_malformed(BodyFormat::Json, "[]");
    assert_malformed(BodyFormat::Json, "[{\"a\":1,\"a\":1}]");
}

#[test]
fn forms_are_decoded() {
    let body = "name=J%C3%bcrgen+M&password=%26%3d%2B&empty=&flag&&user[x]=%00&ü=ü";
    for (at, expected) in [("name", "Jürgen M"), ("password", "&=+"), ("user[x]", "\0"), ("ü", "ü")]
    {
        assert_eq!(text_at(BodyFormat::Form, body, at), found(expected), "{at}");
    }
    assert_eq!(text_at(BodyFormat::Form, body, "empty"), Ok(None));
    assert_eq!(text_at(BodyFormat::Form, body, "flag"), Ok(None));
    let nested = text_at(BodyFormat::Form, body, "name.first");
    assert_eq!(nested, Err(Reason::MalformedRequest), "a form has no members in members");
}

#[test]
fn forms_that_two_readers_could_understand_differently_are_refused() {
    for body in [
        "a=1&a=1",
        "a=1&%61=2",
        "a=1&b=2&a",
        "=1&=2",
        "a=%",
        "a=%2",
        "a=%zz",
        "a=%+1",
        "%=1",
        "a=%ff",
        "a=%C3%28",
        "a=1;b=2",
    ] {
        assert_malformed(BodyFormat::Form, body);
    }
}
