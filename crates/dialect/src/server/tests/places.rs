//! Credentials in every place that a dialect can name.

use super::*;
use crate::DialectProblem;

/// A dialect with one endpoint.
pub(super) fn dialect(endpoint: &str) -> Result<Dialect, Vec<DialectProblem>> {
    let text = format!("name = 'x'\n[[endpoint]]\n{endpoint}");
    Dialect::check(toml::from_str::<RawDialect>(&text).expect(&text))
}

pub(super) fn one(endpoint: &str) -> Endpoint {
    let dialect = dialect(endpoint);
    dialect.unwrap_or_else(|problems| panic!("{endpoint}: {problems:?}")).endpoints.remove(0)
}

fn login(credential: &str) -> Endpoint {
    one(&format!("step = 'login'\nrequest = 'POST /l/{{who}}'\nreply = {{}}\n{credential}"))
}

pub(super) fn at(target: &str, lines: &str) -> Parts {
    let mut parts = head(lines);
    parts.uri = target.parse().expect("a target");
    parts
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const XML: &str = "Content-Type: text/xml";
const PARTS: &str = "Content-Type: multipart/form-data; boundary=b";

#[test]
fn names_and_passwords_are_read_in_every_place() {
    let parts = "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nu\r\n--b\r\n\
                 Content-Disposition: form-data; name=\"p\"\r\n\r\np\r\n--b--\r\n";
    let soap = "<s:E xmlns:s='urn:s'><s:B><login n='u'>p</login></s:B></s:E>";
    for (credential, target, lines, body) in [
        (
            "{ json = { username = 'a.n', password = 'a.p[0]' } }",
            "/",
            JSON,
            r#"{"a":{"n":"u","p":["p",1]}}"#,
        ),
        ("{ form = { username = 'n', password = 'p' } }", "/", FORM, "n=u&p=p&x="),
        ("{ multipart = { username = 'n', password = 'p' } }", "/", PARTS, parts),
        ("{ xml = { username = 'E.B.login.@n', password = 'E.B.login' } }", "/", XML, soap),
        ("{ fields = { username = 'X-N', password = 'X-P' } }", "/", "X-N: u\nX-P: p", ""),
        ("{ query = { username = 'n', password = 'p' } }", "/?n=u&p=%70", "", ""),
        ("{ path = { username = 'who' }, json = { password = 'p' } }", "/", JSON, r#"{"p":"p"}"#),
        ("{ json = { username = { fixed = 'u' }, password = 'p' } }", "/", JSON, r#"{"p":"p"}"#),
        (
            "{ json = { username = { at = 'n', strip = ['@', ':x'] }, password = 'p' } }",
            "/",
            JSON,
            r#"{"n":"@u:x","p":"p"}"#,
        ),
    ] {
        let endpoint = login(&format!("credential = [{credential}]"));
        let variables = [("who".to_owned(), "u".to_owned())];

        let found = read(&endpoint, &at(target, lines), &variables, body.as_bytes());

        assert_eq!(found, password("u", "p"), "{credential}");
    }
}

#[test]
fn tokens_are_read_in_every_carrier() {
    for (carrier, target, lines) in [
        ("{ scheme = 'Token' }", "/", "Authorization: token t.1"),
        ("{ scheme = '' }", "/", "Authorization: t.1"),
        ("{ field = 'X-Auth-Token' }", "/", "X-Auth-Token: t.1"),
        ("{ cookie = 'SID' }", "/", "Cookie: a=b; SID=t.1"),
        ("{ query = 'tok' }", "/?a=b&tok=t%2E1", ""),
        ("{ path = 'who' }", "/", ""),
    ] {
        let endpoint = one(&format!(
            "step = 'logout'\nrequest = 'DELETE /s/{{who}}'\nreply = {{}}\n\
             credential = [{{ token = {carrier}, use = 'access' }}]"
        ));
        let variables = [("who".to_owned(), "t.1".to_owned())];
        let found = read(&endpoint, &at(target, lines), &variables, b"");
        assert_eq!(found, token("t.1", TokenUse::Access), "{carrier}");

        if !carrier.contains("path") {
            let found = read(&endpoint, &at("/", ""), &variables, b"");
            assert_eq!(found, Err(Reason::CredentialMissing), "{carrier}: nothing");
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let cookie = "credential = [{ token = { cookie = 'SID' }, use = 'renew' }]";
    let query = "credential = [{ token = { query = 't' }, use = 'renew' }]";
    let either = "credential = [{ json = { username = 'n', password = 'p' } }, \
                  { json = { username = 'm', password = 'p' } }]";
    let token = "credential = [{ token = { scheme = 'Token' }, use = 'renew' }]";
    let field = "credential = [{ token = { field = 'X-T' }, use = 'renew' }]";
    for (credential, target, lines, body, reason) in [
        (cookie, "/", "Cookie: SID=a; SID=b", "", Reason::AmbiguousCredential),
        (cookie, "/", "Cookie: SID=a\nCookie: SID=a", "", Reason::AmbiguousCredential),
        (cookie, "/", "Cookie: SID=a b", "", Reason::TokenInvalid),
        (query, "/?t=a&t=b", "", "", Reason::AmbiguousCredential),
        (query, "/?t=a&x=1&x=2", "", "", Reason::AmbiguousCredential),
        (query, "/?t=%ff", "", "", Reason::MalformedRequest),
        (either, "/", JSON, r#"{"n":"a","m":"b","p":"p"}"#, Reason::AmbiguousCredential),
        (either, "/", JSON, r#"{"p":"p"}"#, Reason::MissingUsername),
        (either, "/", JSON, r#"{"n":"a"}"#, Reason::MissingPassword),
        (token, "/", "Authorization: Token a b", "", Reason::TokenInvalid),
        (token, "/", "Authorization: Bearer a", "", Reason::CredentialMissing),
        (field, "/", "X-T: a\nX-T: b", "", Reason::AmbiguousCredential),
        (field, "/", "X-T: a\tb", "", Reason::TokenInvalid),
    ] {
        let found = read(&login(credential), &at(target, lines), &[], body.as_bytes());
        assert_eq!(found, Err(reason), "{credential} {target} {lines} {body}");
    }
}

#[test]
fn endpoints_of_one_path_are_told_apart_by_what_they_demand() {
    let grant = |step: &str, credential: &str, grant: &str| {
        format!(
            "[[endpoint]]\nstep = '{step}'\nrequest = 'POST /token'\nreply = {{}}\n\
             where = {{ form = {{ grant_type = '{grant}' }} }}\ncredential = [{credential}]\n"
        )
    };
    let text = format!(
        "name = 'x'\n{}{}",
        grant("login", "{ form = { username = 'username', password = 'password' } }", "password"),
        grant(
            "refresh",
            "{ token = { form = 'refresh_token' }, use = 'refresh' }",
            "refresh_token"
        ),
    );
    let dialect = Dialect::check(toml::from_str(&text).expect("TOML")).expect("no problems");
    let chosen = |body: &str| choose(&dialect, 0, &head(FORM), &[], body.as_bytes());

    assert_eq!(chosen("grant_type=password&username=u&password=p"), Ok(Some(0)));
    assert_eq!(chosen("grant_type=refresh_token&refresh_token=t"), Ok(Some(1)));
    assert_eq!(chosen("grant_type=implicit"), Err(Reason::MalformedRequest));
    assert_eq!(chosen("username=u"), Err(Reason::MalformedRequest));
    assert_eq!(
        chosen("grant_type=password&grant_type=refresh_token"),
        Err(Reason::MalformedRequest)
    );
    assert_eq!(choose(&dialect, 0, &head(JSON), &[], b"{}"), Err(Reason::UnsupportedMediaType));
}

#[test]
fn what_must_be_there_is_demanded() {
    let endpoint = login(
        "credential = [{ json = { username = 'n', password = 'p' } }]\n\
         require = { json = { 'auth.scope' = '*', v = [1, 2] }, fields = { X-Api = 'a' } }",
    );
    let body = |body: &str, lines: &str| {
        read(&endpoint, &head(&format!("{JSON}\n{lines}")), &[], body.as_bytes())
    };
    let whole = r#"{"n":"u","p":"p","v":2,"auth":{"scope":{}}}"#;

    assert_eq!(body(whole, "X-Api: a"), password("u", "p"));
    for (text, lines) in [
        (r#"{"n":"u","p":"p","v":"2","auth":{"scope":1}}"#, "X-Api: a"),
        (r#"{"n":"u","p":"p","v":2,"auth":{}}"#, "X-Api: a"),
        (whole, "X-Api: b"),
    ] {
        assert_eq!(body(text, lines), Err(Reason::MalformedRequest), "{text} {lines}");
    }
}

#[test]
fn wrong_forms_are_named_with_their_remedy() {
    let cases = [
        ("credential = [{}]", "credential[0]", "has no `username`"),
        ("credential = [{ json = { username = 'a' } }]", "credential[0]", "has no `password`"),
        (
            "credential = [{ json = { username = 'a', password = 'a.b' } }]",
            "credential[0]",
            "one member inside another",
        ),
        (
            "credential = [{ json = { username = 'a', password = 'b[1]' } }]",
            "credential[0]",
            "count up from [0]",
        ),
        (
            "credential = [{ form = { username = 'a' }, json = { password = 'b' } }]",
            "credential[0]",
            "two kinds of body",
        ),
        (
            "credential = [{ basic = {}, json = { username = 'a', password = 'b' } }]",
            "credential[0]",
            "several credentials",
        ),
        (
            "credential = [{ token = { field = 'X' } }]",
            "credential[0].use",
            "what is the token for",
        ),
        (
            "credential = [{ token = { field = 'Host' }, use = 'renew' }]",
            "credential[0].token",
            "carries nothing else",
        ),
        (
            "credential = [{ token = { field = 'X', query = 'x' }, use = 'renew' }]",
            "credential[0].token",
            "several places",
        ),
        (
            "credential = [{ token = { path = 'nobody' }, use = 'renew' }]",
            "request",
            "no variable `{nobody}`",
        ),
        (
            "credential = [{ fields = { username = 'Cookie', password = 'X-P' } }]",
            "credential[0].fields.username",
            "carries nothing else",
        ),
        (
            "credential = [{ json = { username = { }, password = 'p' } }]",
            "credential[0].json.username",
            "`at`",
        ),
        (
            "credential = [{ basic = {} }]\nrequire = { form = { x = 1 } }",
            "require.form.x",
            "must be a value",
        ),
        (
            "credential = [{ basic = {} }]\nmedia_types = ['multipart/form-data']",
            "media_types[0]",
            "stands for JSON",
        ),
    ];
    for (credential, path, message) in cases {
        let endpoint = format!("step = 'login'\nrequest = 'POST /l'\nreply = {{}}\n{credential}");
        let problems = dialect(&endpoint).err().unwrap_or_default();
        let is_it = |problem: &DialectProblem| {
            problem.path == format!("endpoint[0].{path}") && problem.message.contains(message)
        };
        assert!(problems.iter().any(is_it), "{credential}: {problems:?}");
    }
}

#[test]
fn endpoints_that_cannot_be_told_apart_are_refused() {
    let endpoint = |request: &str, selector: &str| {
        format!("[[endpoint]]\nstep = 'answer'\nrequest = '{request}'\nreply = {{}}\n{selector}\n")
    };
    for (first, second, is_told_apart) in [
        (("GET /a", ""), ("GET /a", ""), false),
        (("GET /a", "where = { query = { q = '*' } }"), ("GET /a", ""), true),
        (("GET /a", ""), ("GET /a", "where = { query = { q = '*' } }"), false),
        (
            ("GET /a", "where = { query = { q = '*' } }"),
            ("GET /a", "where = { query = { q = '1' } }"),
            false,
        ),
        (("GET /{x}", ""), ("GET /a", ""), true),
        (("GET /{x}", ""), ("GET /{y}", ""), false),
        (("GET /{x}", ""), ("POST /{y}", ""), true),
        (("GET /a/{x}", ""), ("GET /b/{x}", ""), true),
    ] {
        let text =
            format!("name = 'x'\n{}{}", endpoint(first.0, first.1), endpoint(second.0, second.1));
        let checked = Dialect::check(toml::from_str(&text).expect("TOML"));
        assert_eq!(checked.is_ok(), is_told_apart, "{first:?} {second:?} {checked:?}");
    }
}

#[test]
fn what_goes_to_the_routes_unread_is_alone_at_its_path() {
    let text = "name = 'x'\n[[endpoint]]\nstep = 'answer'\nrequest = 'POST /r'\nreply = {}\n\
                when = 'unauthenticated'\nwhere = { json = { m = 'a' } }\n\
                [[endpoint]]\nstep = 'answer'\nrequest = 'POST /r'\nreply = {}\n";
    let problems = Dialect::check(toml::from_str(text).expect("TOML")).expect_err("two");

    assert_eq!(problems[0].path, "endpoint[1].when");
}

#[test]
fn a_path_with_a_secret_is_masked_in_logs() {
    let endpoint = |credential: &str| {
        one(&format!(
            "step = 'logout'\nrequest = 'DELETE /s/{{token}}/x'\nreply = {{}}\n\
             credential = [{credential}]"
        ))
    };
    let in_path = endpoint("{ token = { path = 'token' }, use = 'access' }");

    assert_eq!(in_path.masked_path().as_deref(), Some("/s/***/x"));
    assert_eq!(endpoint("{ bearer = 'access' }").masked_path(), None);
}

#[test]
fn variables_stand_for_one_plain_segment() {
    let path = crate::EndpointPath::parse("/v/{a}/x/{b}").expect("a path");
    let found = |text: &str| path.matches(text);

    let values = [("a".to_owned(), "1 2".to_owned()), ("b".to_owned(), "ü".to_owned())];
    assert_eq!(found("/v/1 2/x/ü"), Some(values.to_vec()));
    for other in
        ["/v/1/x", "/v//x/2", "/v/../x/2", "/v/1/x/2/", "/v/1/y/2", "/v/a\\b/x/2", "/v/a\n/x/2"]
    {
        assert_eq!(found(other), None, "{other}");
    }
    for wrong in ["/v/{}", "/v/{a b}", "/v/a{b}", "v", "/v//a", "/v/%41"] {
        assert!(crate::EndpointPath::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn only_what_was_read_in_one_way_is_handed_on() {
    let text = "name = 'x'\n[[endpoint]]\nstep = 'login'\nrequest = 'POST /rpc'\nreply = {}\n\
                where = { json = { method = 'user.login', 'params.x' = '*' } }\n\
                otherwise = 'route'\n\
                credential = [{ json = { username = 'params.u', password = 'params.p' } }]\n";
    let dialect = Dialect::check(toml::from_str(text).expect("TOML")).expect("no problems");
    let chosen = |lines: &str, body: &str| choose(&dialect, 0, &head(lines), &[], body.as_bytes());

    let login = r#"{"method":"user.login","params":{"x":1,"u":"a","p":"b"}}"#;
    assert_eq!(chosen(JSON, login), Ok(Some(0)));
    for other in [r#"{"method":"host.get"}"#, r#"{"method":"user.login","params":{}}"#, "{}", ""] {
        assert_eq!(chosen(JSON, other), Ok(None), "{other}");
    }
    for (lines, body, reason) in [
        (JSON, r#"[{"method":"user.login"}]"#, Reason::MalformedRequest),
        (JSON, r#"{"method":"a","method":"user.login"}"#, Reason::MalformedRequest),
        (JSON, r#"{"Method":"user.login"}"#, Reason::MalformedRequest),
        (JSON, r#"{"method":"User.Login"}"#, Reason::MalformedRequest),
        (JSON, r#"{"method":" user.login\n"}"#, Reason::MalformedRequest),
        (JSON, r#"{"method":["user.login"]}"#, Reason::MalformedRequest),
        ("Content-Encoding: deflate", "{}", Reason::UnsupportedMediaType),
        (JSON, r#"{"method":"user.login","Params":{"x":1}}"#, Reason::MalformedRequest),
        (JSON, r#"{"method":"a"} {"method":"user.login"}"#, Reason::MalformedRequest),
        (FORM, "method=user.login", Reason::UnsupportedMediaType),
        ("Content-Type: application/json; charset=utf-16", "{}", Reason::UnsupportedMediaType),
    ] {
        assert_eq!(chosen(lines, body), Err(reason), "{lines} {body}");
    }
}

#[test]
fn what_others_could_read_from_another_place_is_not_handed_on() {
    let endpoint = |selector: &str, credential: &str| {
        let text = format!(
            "name = 'x'\n[[endpoint]]\nstep = 'login'\nrequest = 'POST /t'\nreply = {{}}\n\
             where = {selector}\notherwise = 'route'\ncredential = [{credential}]\n"
        );
        Dialect::check(toml::from_str(&text).expect("TOML")).expect("no problems")
    };
    let form = endpoint(
        "{ form = { grant_type = 1 } }".replace("1", "'login'").as_str(),
        "{ form = { username = 'u', password = 'p' } }",
    );
    let query =
        endpoint("{ query = { api = 'login' } }", "{ query = { username = 'u', password = 'p' } }");
    let chosen = |dialect: &Dialect, target: &str, lines: &str, body: &str| {
        choose(dialect, 0, &at(target, lines), &[], body.as_bytes())
    };

    assert_eq!(chosen(&form, "/t", FORM, "grant_type=other&x=1"), Ok(None));
    assert_eq!(chosen(&query, "/t?api=list", "", ""), Ok(None));
    assert_eq!(chosen(&query, "/t?other=1", "", ""), Ok(None));
    for (dialect, target, lines, body) in [
        (&form, "/t?grant_type=login", FORM, "u=a&p=b"),
        (&form, "/t", FORM, "grant.type=login&u=a"),
        (&form, "/t", FORM, "GRANT_TYPE=login&u=a"),
        (&query, "/t?API=login", "", ""),
        (&query, "/t?x=1;api=login", "", ""),
        (&query, "/t?api=Login", "", ""),
    ] {
        assert_eq!(
            chosen(dialect, target, lines, body),
            Err(Reason::MalformedRequest),
            "{target} {body}"
        );
    }
    let soap = Dialect::builtin("soap_login").expect("built in");
    let call = "<Envelope><Body><list/></Body></Envelope>";
    assert_eq!(choose(&soap, 0, &head(XML), &[], call.as_bytes()), Ok(None), "read as XML");
    let unread = chosen(&query, "/t?api=list", FORM, "api=login&u=a&p=b");
    assert_eq!(unread, Err(Reason::UnsupportedMediaType));
}
