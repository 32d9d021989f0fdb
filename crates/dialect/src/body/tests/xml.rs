use super::*;

#[test]
fn members_of_xml_begin_with_the_outermost_element() {
    let body = "\u{feff}<?xml version='1.0' encoding = \"utf-8\" standalone='yes' ?>\r\n<!-- x -->\
        <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns='urn:a'>\n \
        <s:Header/><!-- layout -->\n<s:Body><login s:id=\"a&#10;b\"><user> alice&amp;\u{fc} </user>\
        <password type='text'>&lt;<![CDATA[&]]>\r\n</password><none\n a = '1>'\r/><blank> </blank>\
        </login></s:Body></s:Envelope>\n";
    let at = |at| text_at(BodyFormat::Xml, body, at);

    for (path, expected) in [
        ("Envelope.Body.login.user", " alice&\u{fc} "),
        ("Envelope.Body.login.user.#text", " alice&\u{fc} "),
        ("Envelope.Body.login.password", "<&\n"),
        ("Envelope.Body.login.password.#text", "<&\n"),
        ("Envelope.Body.login.password.@type", "text"),
        ("Envelope.Body.login.@id", "a\nb"),
        ("Envelope.Body.login.blank", " "),
    ] {
        assert_eq!(at(path), found(expected), "{path}");
    }
    for missing in [
        "Body",
        "Envelope.Header",
        "Envelope.Header.Security.Username",
        "Envelope.Body.login.none",
        "Envelope.Body.login.none.x",
        "Envelope.Body.login.user.x",
        "Envelope.@xmlns",
        "Envelope.@s",
        "s:Envelope.Body",
    ] {
        assert_eq!(at(missing), Ok(None), "{missing}");
    }
    for wrong in ["Envelope", "Envelope.Body.login", "Envelope.Body[0]", "Envelope.Header[0]"] {
        assert_eq!(at(wrong), Err(Reason::MalformedRequest), "{wrong}");
    }
    let read = read_as(BodyFormat::Xml, body).expect("read");
    let password = path("Envelope.Body.login.password");
    assert_eq!(read.scalar(BodyFormat::Xml, &password), Some(json!("<&\n")));
    assert_eq!(read.value(BodyFormat::Xml, &password), Some(&BodyValue::text("<&\n")));
}

#[test]
fn a_member_named_as_xml_names_texts_is_nothing_special_in_json() {
    let body = r##"{"a":{"#text":"x"}}"##;

    assert_eq!(text_at(BodyFormat::Json, body, "a"), Err(Reason::MalformedRequest));
    assert_eq!(text_at(BodyFormat::Json, body, "a.#text"), found("x"));
}

#[test]
fn xml_that_two_readers_could_understand_differently_is_refused() {
    for body in [
        " ",
        "a",
        "<a>",
        "<a/><b/>",
        "<a/>b",
        "<a></b>",
        "<a b=c/>",
        "<a b='<'/>",
        "<a>&</a>",
        "<a>&nbsp;</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a b='&#xD800;'/>",
        "<a>&#x110000;</a>",
        "<a>&#99999999999;</a>",
        "<a>&#+65;</a>",
        "<a>&#65</a>",
        "<:a/>",
        "<a></:a>",
        "<a :b='1'/>",
        "<a xmlns:x='1' x:xmlns='2'/>",
        "<a xmlns='1' xmlns='2'/>",
        "<a xmlns:x=''/>",
        "<a:b:c xmlns:a='1'/>",
        "<a>\u{1}</a>",
        "<a>]]></a>",
        "<x:a/>",
        "<a><b/><b/></a>",
        "<a xmlns:x='1' xmlns:y='2'><x:b/><y:b/></a>",
        "<a xmlns:x='1' b='1' x:b='2'/>",
        "<a b='1' b='2'/>",
        "<a>b<c/></a>",
        "<a><c/>b</a>",
        "<a>\u{a0}<c/></a>",
        "<a>admin<!-- -->istrator</a>",
        "<a><?php x ?></a>",
        "<?x y?><a/>",
        "<a/><?x y?>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "\u{feff}\u{feff}<a/>",
    ] {
        assert_malformed(BodyFormat::Xml, body);
    }
}

#[test]
fn the_xml_declaration_is_checked() {
    for declaration in [
        "<?xml version=\"1.0\"?>",
        "<?xml version='1.0' encoding='UTF-8'?>",
        "<?xml\nversion = '1.0'\tstandalone = 'no' ?>\n",
    ] {
        assert!(read_as(BodyFormat::Xml, &format!("{declaration}<a/>")).is_ok(), "{declaration}");
    }
    for declaration in [
        " <?xml version='1.0'?>",
        "<?xml version='1.1'?>",
        "<?xml version='1.0' encoding='iso-8859-1'?>",
        "<?xml version='1.0' encoding='utf-7'?>",
        "<?xml version='1.0' standalone='maybe'?>",
        "<?xml version='1.0' standalone='no' encoding='utf-8'?>",
        "<?xml version='1.0' version='1.0'?>",
        "<?xml version='1.0'encoding='utf-8'?>",
        "<?xml version='1.0\"?>",
        "<?xml encoding='utf-8'?>",
        "<?xml?>",
        "<?xml version='1.0'>",
        "<?XML version='1.0'?>",
        "<?xml version='1.0'?><?xml version='1.0'?>",
        "\u{feff} <?xml version='1.0'?>",
    ] {
        assert_malformed(BodyFormat::Xml, &format!("{declaration}<a/>"));
    }
}

#[test]
fn xml_is_bounded_before_it_is_parsed() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(read_as(BodyFormat::Xml, &nested(32)).is_ok());
    assert_malformed(BodyFormat::Xml, &nested(33));
    assert_malformed(BodyFormat::Xml, &"<a>".repeat(1_000_000));

    let list =
        |count: usize, one: &dyn Fn(usize) -> String| -> String { (0..count).map(one).collect() };
    let attributes = |count| format!("<a {}/>", list(count, &|number| format!(" a{number}='>'")));
    assert!(read_as(BodyFormat::Xml, &attributes(256)).is_ok());
    assert_malformed(BodyFormat::Xml, &attributes(257));

    let declared =
        |count| format!("<a {}/>", list(count, &|number| format!(" xmlns:a{number}='u'")));
    assert!(read_as(BodyFormat::Xml, &declared(256)).is_ok());
    assert_malformed(BodyFormat::Xml, &declared(257));

    let children = |count| format!("<a>{}</a>", list(count, &|number| format!("<b{number}/>")));
    assert!(read_as(BodyFormat::Xml, &children(16 * 1024 - 1)).is_ok());
    assert_malformed(BodyFormat::Xml, &children(16 * 1024));

    // Neither comments nor character data are tags, and nothing in them is a reference.
    let data = "<c>&#xD800;".repeat(100);
    let quoted = format!("<a><!--{data}--><b><![CDATA[{data}]]></b></a>");
    assert_eq!(text_at(BodyFormat::Xml, &quoted, "a.b"), Ok(Some(data)));
}
