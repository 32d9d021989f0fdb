//! Answers in every form, and what is put into them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};

use super::*;
use crate::{DialectProblem, ErrorValues, SessionValues, TokenValues, UserValues};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserProfile;

fn dialect(rest: &str) -> Result<Dialect, Vec<DialectProblem>> {
    let endpoint = "[[endpoint]]\nstep = 'login'\nrequest = 'POST /l'\n\
                    credential = [{ json = { username = 'n', password = 'p' } }]\n";
    let text = format!("name = 'x'\n{endpoint}{rest}");
    Dialect::check(toml::from_str::<RawDialect>(&text).expect(&text))
}

/// Values in which the user's name is this.
fn values(name: &str) -> TemplateValues {
    let profile = UserProfile { name: name.to_owned(), ..UserProfile::default() };
    let token = TokenValues {
        token: "t0k".into(),
        id: "j".to_owned(),
        issued: Timestamp::from_secs(1_000_000),
        expires: Timestamp::from_secs(1_000_600),
    };
    TemplateValues {
        now: Timestamp::from_secs(1_000_000),
        user: Some(UserValues { id: "u1".to_owned(), profile }),
        session: Some(SessionValues::default()),
        access: Some(token),
        ..TemplateValues::default()
    }
}

fn rendered(reply: &str, name: &str) -> LocalResponse {
    let dialect = dialect(&format!("reply = {reply}"));
    let dialect = dialect.unwrap_or_else(|problems| panic!("{reply}: {problems:?}"));
    render(&dialect.endpoints[0].reply, &values(name), &dialect)
}

fn field(answer: &LocalResponse, name: &http::HeaderName) -> String {
    let found = answer.headers.iter().find(|(known, _)| known == name);
    found.map_or_else(String::new, |(_, value)| value.to_str().expect("ASCII").to_owned())
}

#[test]
fn bodies_are_written_in_every_form() {
    for (reply, content_type, body) in [
        (
            "{ json = { n = '$user.name', t = '$null' } }",
            "application/json",
            r#"{"n":"a","t":null}"#,
        ),
        (
            "{ form = { Auth = '$access.token', n = '$user.name' } }",
            "application/x-www-form-urlencoded",
            "Auth=t0k&n=a",
        ),
        ("{ text = 'OK $user.name' }", "text/plain; charset=utf-8", "OK a"),
        ("{ xml = '<n>$user.name</n>' }", "application/xml; charset=utf-8", "<n>a</n>"),
        ("{ text = '<b>$user.name', content_type = 'text/html' }", "text/html", "<b>a"),
        (
            "{ json = { s = '$access.ttl|text', m = '$access.ttl_ms' } }",
            "application/json",
            r#"{"s":"600","m":600000}"#,
        ),
        (
            "{ json = { a = '$access.expires_rfc3339', b = { time = '$access.issued', format = '%d.%m.%Y' } } }",
            "application/json",
            r#"{"a":"1970-01-12T13:56:40Z","b":"12.01.1970"}"#,
        ),
    ] {
        let answer = rendered(reply, "a");
        assert_eq!(answer.body, Bytes::from(body), "{reply}");
        assert_eq!(field(&answer, &CONTENT_TYPE), content_type, "{reply}");
    }
}

#[test]
fn nothing_breaks_out_of_its_place() {
    let hostile = "a\"b'&<c>;\r\nX: y\u{0}%=ü";
    let xml = rendered("{ xml = '<n a=\"$user.name\">$user.name</n>' }", hostile);
    let xml = String::from_utf8(xml.body.to_vec()).expect("text");
    assert_eq!(xml.matches('<').count(), 2, "{xml}");
    assert_eq!(xml.matches('"').count(), 2, "{xml}");

    let html =
        rendered("{ text = '<p>$user.name', content_type = 'text/html; charset=utf-8' }", hostile);
    assert_eq!(String::from_utf8_lossy(&html.body).matches('<').count(), 1);

    let form = rendered("{ form = { n = '$user.name', m = '1' } }", hostile);
    let form: Vec<_> = form_urlencoded::parse(&form.body).into_owned().collect();
    assert_eq!(form, [("n".to_owned(), hostile.to_owned()), ("m".to_owned(), "1".to_owned())]);

    let answer = rendered(
        "{ headers = { X-Name = 'n $user.name' }, cookies = [{ name = 'SID', value = '$user.name' }] }",
        hostile,
    );
    let name = field(&answer, &"x-name".parse().expect("a name"));
    assert_eq!(name, "n a\"b'&<c>;%0D%0AX: y%00%=%C3%BC");
    let cookie = field(&answer, &SET_COOKIE);
    assert_eq!(cookie.matches(';').count(), 4, "{cookie}");
    assert!(cookie.starts_with("SID=a%22b'&<c>%3B%0D%0AX:%20y%00%=%C3%BC; Path=/;"), "{cookie}");
}

#[test]
fn cookies_are_set_and_deleted() {
    let set = rendered(
        "{ cookies = [{ name = 'SID', value = '$access.token', max_age = '$access.ttl', same_site = 'strict' }] }",
        "a",
    );
    assert_eq!(
        field(&set, &SET_COOKIE),
        "SID=t0k; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=600; \
         Expires=Mon, 12 Jan 1970 13:56:40 GMT"
    );
    let plain = rendered(
        "{ cookies = [{ name = 'SID', value = 'x', path = '/a', domain = 'x.example', secure = false, http_only = false }] }",
        "a",
    );
    assert_eq!(field(&plain, &SET_COOKIE), "SID=x; Path=/a; Domain=x.example; SameSite=Lax");
    let deleted = rendered("{ cookies = [{ name = 'SID', value = '' }] }", "a");
    assert_eq!(
        field(&deleted, &SET_COOKIE),
        "SID=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0; \
         Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    );
}

#[test]
fn errors_have_every_form_too() {
    let dialect = dialect(
        "reply = {}\n[error]\ndefault = { json = { e = '$code' }, content_type = 'application/x' }\n\
         invalid_credentials = { status = 200, text = 'Fails.' }\n\
         token_invalid = { status = 302, empty = true, headers = { Location = '/login?e=$code' } }\n\
         not_found = { xml = '<e>$path</e>' }\n\
         method_not_allowed = { content_type = 'text/html' }\n405 = { text = 'e: $path' }",
    )
    .expect("no problems");
    let answer = |reason| {
        let now = Timestamp::default();
        let path = "/<a>";
        dialect.errors.render(&ErrorValues {
            reason,
            path,
            request_id: "r",
            detail: None,
            request: &RequestValues::default(),
            now,
        })
    };

    let wrong = answer(Reason::InvalidCredentials);
    assert_eq!((wrong.status.as_u16(), wrong.body), (200, Bytes::from("Fails.")));
    let wrong = answer(Reason::InvalidCredentials);
    assert_eq!(field(&wrong, &CONTENT_TYPE), "text/plain; charset=utf-8", "not the default's");
    let not_found = answer(Reason::MethodNotAllowed);
    assert_eq!(not_found.body, Bytes::from("e: /&lt;a&gt;"), "as HTML");
    let moved = answer(Reason::TokenInvalid);
    assert_eq!(moved.status.as_u16(), 302);
    assert_eq!(field(&moved, &http::header::LOCATION), "/login?e=token_invalid");
    assert_eq!(answer(Reason::NotFound).body, Bytes::from("<e>/&lt;a&gt;</e>"));
    assert_eq!(field(&answer(Reason::Internal), &CONTENT_TYPE), "application/x");
}

#[test]
fn answers_repeat_what_the_client_sent() {
    let dialect = dialect("reply = { json = { id = '$request.json.id', q = '$request.query.q' } }");
    let dialect = dialect.expect("no problems");
    let endpoint = &dialect.endpoints[0];
    let answer = |body: &str, target: &str| {
        let mut parts = head(JSON);
        parts.uri = target.parse().expect("a target");
        let request = shown(endpoint, &parts, &[], body.as_bytes());
        let values = TemplateValues { request, ..values("a") };
        String::from_utf8(render(&endpoint.reply, &values, &dialect).body.to_vec()).expect("text")
    };

    assert_eq!(answer(r#"{"id":7,"n":"a","p":"b"}"#, "/?q=x"), r#"{"id":7,"q":"x"}"#);
    assert_eq!(answer(r#"{"id":"a\"b"}"#, "/"), r#"{"id":"a\"b","q":null}"#);
    assert_eq!(answer(r#"{"id":{"a":1}}"#, "/"), r#"{"id":null,"q":null}"#);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(257));
    assert_eq!(answer(&long, "/"), r#"{"id":null,"q":null}"#);
}

#[test]
fn wrong_answers_are_named_with_their_remedy() {
    for (reply, path, message) in [
        ("{ status = 199 }", "reply.status", "between 200 and 599"),
        ("{ status = 204, text = 'x' }", "reply", "has no body"),
        ("{ json = 1, text = 'x' }", "reply", "several bodies"),
        ("{ headers = { Set-Cookie = 'a' } }", "reply.headers.Set-Cookie", "`cookies`"),
        ("{ headers = { Content-Length = '1' } }", "reply.headers.Content-Length", "no field"),
        (
            "{ headers = { Access-Control-Allow-Origin = '*' } }",
            "reply.headers.Access-Control-Allow-Origin",
            "CORS",
        ),
        (
            "{ headers = { Location = '$request.query.next' } }",
            "reply.headers.Location",
            "wherever the client says",
        ),
        ("{ headers = { X = 'ü' } }", "reply.headers.X", "no header field can have"),
        (
            "{ cookies = [{ name = 'a b', value = '' }] }",
            "reply.cookies[0].name",
            "no name of a cookie",
        ),
        (
            "{ cookies = [{ name = '__Host-a', value = '', path = '/x' }] }",
            "reply.cookies[0].name",
            "no browser",
        ),
        (
            "{ cookies = [{ name = 'a', value = '', same_site = 'none', secure = false }] }",
            "reply.cookies[0].same_site",
            "without `secure`",
        ),
        (
            "{ cookies = [{ name = 'a', value = '', max_age = 'x' }] }",
            "reply.cookies[0].max_age",
            "number of seconds",
        ),
        ("{ json = { t = '$request.json.p' } }", "reply", "is a credential"),
        (
            "{ json = { t = { time = '$user.name', format = '%Y' } } }",
            "reply.json.t",
            "must name a time",
        ),
        (
            "{ json = { t = { time = '$access.issued', format = '%Q' } } }",
            "reply.json.t",
            "no form of a time",
        ),
        ("{ text = '$acess.token' }", "reply.text", "did you mean `$access.token`"),
    ] {
        let problems = dialect(&format!("reply = {reply}")).expect_err(reply);
        let is_it = |problem: &DialectProblem| {
            problem.path == format!("endpoint[0].{path}") && problem.message.contains(message)
        };
        assert!(problems.iter().any(is_it), "{reply}: {problems:?}");
    }
}

proptest! {
    /// Whatever is put in, a JSON answer is read back as it was, and a form, too.
    #[test]
    fn what_is_rendered_is_read_back(name in any::<String>()) {
        let json = rendered("{ json = { n = '$user.name', t = 'x $user.name' } }", &name);
        let read: Value = serde_json::from_slice(&json.body).expect("JSON");
        prop_assert_eq!(&read["n"], &Value::from(name.as_str()));
        prop_assert_eq!(&read["t"], &Value::from(format!("x {name}")));
        let form = rendered("{ form = { n = '$user.name' } }", &name);
        let form: Vec<_> = form_urlencoded::parse(&form.body).into_owned().collect();
        prop_assert_eq!(form, vec![("n".to_owned(), name.clone())]);
        let other = rendered(
            "{ headers = { X = '$user.name' }, cookies = [{ name = 'c', value = '$user.name', max_age = 5 }] }",
            &name,
        );
        for (_, value) in &other.headers {
            prop_assert!(value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)));
        }
    }
}
