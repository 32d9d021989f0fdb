use super::*;

/// A multipart body with the boundary `B`, of parts with these heads and contents.
fn parts(parts: &[(&str, &str)]) -> String {
    let parts: Vec<String> =
        parts.iter().map(|(head, content)| format!("--B\r\n{head}\r\n\r\n{content}\r\n")).collect();
    format!("{}--B--\r\n", parts.concat())
}

fn named(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"")
}

#[test]
fn text_fields_of_multipart_forms_are_read() {
    let typed = format!(
        "content-type: text/plain; charset=UTF-8\r\n{}\r\nContent-Transfer-Encoding: 8bit\r\n\
         Content-Length: 6\r\nX-Other: y",
        named("password")
    );
    let body =
        parts(&[(&named("user"), "alice"), (&typed, "pä ß"), (&named("lines"), "a\r\n-b\n")]);

    for (at, expected) in [("user", "alice"), ("password", "pä ß"), ("lines", "a\r\n-b\n")] {
        assert_eq!(text_at(BodyFormat::Multipart, &body, at), found(expected), "{at}");
    }
    let with_line_end = format!("\r\n{}", body.trim_end());
    assert_eq!(text_at(BodyFormat::Multipart, &with_line_end, "user"), found("alice"));
    let unquoted = parts(&[("Content-Disposition: form-data;name=user", "")]);
    assert_eq!(text_at(BodyFormat::Multipart, &unquoted, "user"), Ok(None));
    assert!(read_as(BodyFormat::Multipart, "--B--").is_ok(), "no parts");
}

#[test]
fn parts_that_are_no_plain_text_fields_are_refused() {
    let with = |fields: &str| parts(&[(&format!("{}\r\n{fields}", named("a")), "ü")]);
    assert!(read_as(BodyFormat::Multipart, &with("X: y")).is_ok());

    for head in [
        "Content-Disposition: form-data",
        "Content-Disposition: attachment; name=a",
        "Content-Disposition: form-data; name=a; name=b",
        "Content-Disposition: form-data; name=a; filename=b",
        "Content-Disposition: form-data; name=a; filename*=utf-8''b",
        "Content-Disposition: form-data; name=a; name*=utf-8''b",
        "Content-Disposition: form-data; name=\"a\\\"b\"",
        "Content-Disposition: form-data; name=\"%61\"",
        "Content-Disposition: form-data;\r\n name=a",
        "Content-Disposition : form-data; name=a",
        "Content-Disposition: form-data; name=a\nX: y",
        "Content-Disposition: form-data; name=a\rX: y",
        "X: y",
        "X",
    ] {
        assert_malformed(BodyFormat::Multipart, &parts(&[(head, "")]));
    }
    for fields in [
        "Content-Type: application/json",
        "Content-Type: text/plain; charset=utf-16",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Type: text/plain; format=flowed",
        "Content-Type: text/plain\r\nContent-Type: text/plain",
        "Content-Disposition: form-data; name=b",
        "Content-Transfer-Encoding: base64",
        "Content-Length: 1",
        "Content-Length: +2",
    ] {
        assert_malformed(BodyFormat::Multipart, &with(fields));
    }
}

#[test]
fn multipart_bodies_that_two_readers_could_divide_differently_are_refused() {
    let part = format!("{}\r\n\r\nx", named("a"));
    for body in [
        format!("--B\r\n{part}\r\n--B"),
        format!("--B\r\n{part}\r\n--B\r\n"),
        format!("--B\r\n{part}\r\n--B--\r\nepilogue"),
        format!("--B\r\n{part}\r\n--B--\r\n\r\n"),
        format!("preamble\r\n--B\r\n{part}\r\n--B--"),
        format!("\n--B\r\n{part}\r\n--B--"),
        format!("--B \r\n{part}\r\n--B--"),
        format!("--B\n{part}\r\n--B--"),
        format!("--B\r\n{part}\n--B--"),
        format!("--B\r\n{part}--B--"),
        format!("--B\r\n{part}\r\n--Bx\r\n--B--"),
        format!("--B\r\n{part} --B\r\n--B--"),
        format!("--B\r\n{}\r\n\r\n--B--", named("a")),
        format!("--B\r\n\r\n{part}\r\n--B--"),
        "--C--".to_owned(),
        "--B".to_owned(),
    ] {
        assert_malformed(BodyFormat::Multipart, &body);
    }
    assert_malformed(BodyFormat::Multipart, &parts(&[(&named("a"), "1"), (&named("a"), "2")]));
    let many = |count: usize| {
        let heads: Vec<String> = (0..count).map(|number| named(&number.to_string())).collect();
        parts(&heads.iter().map(|head| (head.as_str(), "")).collect::<Vec<_>>())
    };
    assert!(read_as(BodyFormat::Multipart, &many(64)).is_ok());
    assert_malformed(BodyFormat::Multipart, &many(65));
}

#[test]
fn a_boundary_has_the_form_that_mime_gives_it() {
    let long = "b".repeat(71);
    for boundary in ["", " ", "b ", "bä", "b*", "b;c", &long] {
        assert!(
            super::super::multipart::read(&format!("--{boundary}--"), boundary).is_none(),
            "{boundary}"
        );
    }
    for boundary in ["b", "b c", "----=_Part_0_12.3", "'()+_,-./:=?", &long[..70]] {
        assert!(
            super::super::multipart::read(&format!("--{boundary}--"), boundary).is_some(),
            "{boundary}"
        );
    }
    let missing = read(BodyFormat::Multipart, "multipart/form-data", "--B--").err();
    assert_eq!(missing, Some(Reason::MalformedRequest));
}
