//! What answers mean, and all that a request has besides a credential.

use super::*;
use http::header::COOKIE;

/// What an answer with these fields and this body means to a dialect.
fn meaning(dialect: &Dialect, status: u16, fields: &[(&str, &str)], body: &str) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            name.parse::<http::HeaderName>().expect("a name"),
            value.parse().expect("a value"),
        );
    }
    let answer = ReceivedAnswer { status, headers: &headers, body: body.as_bytes() };
    let outcome = parse_response(dialect, endpoint(dialect, EndpointStep::Login), &answer);
    match outcome {
        LoginOutcome::Accepted(values) => {
            values.access_token.map(|token| token.expose().clone()).unwrap_or_default()
        }
        other => label(&other).to_owned(),
    }
}

const KEYSTONE: &str = r#"{"token":{"methods":["password"],"user":{"id":"u","name":"ann","domain":{"id":"default","name":"Default"},"password_expires_at":null},"catalog":[]}}"#;

#[test]
fn a_refusal_in_any_form_is_one_and_an_outage_is_none() {
    let sid = ("set-cookie", "SID=s1; HttpOnly; path=/");
    let jsession = ("set-cookie", "JSESSIONID=j1; Path=/; HttpOnly");
    let login = ("location", "/login?error");
    let home = ("location", "https://legacy.example/");
    let fault = |text: &str| {
        format!(
            "<S:Envelope xmlns:S='http://schemas.xmlsoap.org/soap/envelope/'>\n <S:Body><S:Fault><faultcode>soapenv:Client</faultcode><faultstring xml:lang='en'>{text}</faultstring></S:Fault></S:Body></S:Envelope>"
        )
    };
    for (name, status, fields, body, expected) in [
        ("qbittorrent", 200, vec![sid], "Ok.".to_owned(), "s1"),
        ("qbittorrent", 200, vec![sid], "Ok.\n".to_owned(), "s1"),
        ("qbittorrent", 200, vec![sid], "Fails.".to_owned(), "invalid_credentials"),
        ("qbittorrent", 200, vec![], "Ok.".to_owned(), "nonsense"),
        ("qbittorrent", 200, vec![sid], "<html>Log in</html>".to_owned(), "nonsense"),
        ("spring_form", 302, vec![jsession, home], String::new(), "j1"),
        ("spring_form", 302, vec![jsession, home], "<html>moved".to_owned(), "j1"),
        ("spring_form", 302, vec![jsession, login], String::new(), "invalid_credentials"),
        ("spring_form", 302, vec![jsession], String::new(), "nonsense"),
        ("spring_form", 302, vec![jsession, ("location", "/elsewhere")], String::new(), "nonsense"),
        ("spring_form", 302, vec![jsession, home, login], String::new(), "nonsense"),
        ("keystone", 201, vec![("x-subject-token", "t1")], KEYSTONE.to_owned(), "t1"),
        ("keystone", 201, vec![("x-subject-token", "a"), ("x-subject-token", "b")], KEYSTONE.to_owned(), "nonsense"),
        ("proxmox", 200, vec![("set-cookie", "PVEAuthCookie=PVE:x")], r#"{"data":{"ticket":"PVE:x","cap":{}}}"#.to_owned(), "PVE:x"),
        ("proxmox", 200, vec![], r#"{"data":{"ticket":"PVE:x","cap":{}}}"#.to_owned(), "PVE:x"),
        ("proxmox", 200, vec![("set-cookie", "PVEAuthCookie=PVE:y")], r#"{"data":{"ticket":"PVE:x","cap":{}}}"#.to_owned(), "nonsense"),
        ("soap_login", 500, vec![], fault("Wrong user name or password"), "invalid_credentials"),
        ("soap_login", 500, vec![], fault("Internal error"), "nonsense"),
        ("soap_login", 500, vec![], "<html>Bad gateway</html>".to_owned(), "nonsense"),
        ("zabbix", 200, vec![], r#"{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params.","data":"Incorrect user name or password or account is temporarily blocked."},"id":1}"#.to_owned(), "invalid_credentials"),
        ("zabbix", 200, vec![], r#"{"jsonrpc":"2.0","error":{"code":-32500,"message":"Application error.","data":"No database."},"id":1}"#.to_owned(), "nonsense"),
    ] {
        let dialect = dialect(name);
        let body = body.replace("Wrong user name or password", Reason::InvalidCredentials.title());
        let found = meaning(&dialect, status, &fields, &body);
        assert_eq!(found, expected, "{name} {status} {fields:?} {body}");
    }
}

#[test]
fn an_answer_means_what_the_dialect_has_seen() {
    let dialect = own("credential = [{ form = { username = 'u', password = 'p' } }]
[endpoint.reply]
text = '*'
cookies = [{ name = 'SID', value = '$access.token' }]
[[error.invalid_credentials.seen]]
status = 200
text = '*Wrong password*'
[[error.invalid_credentials.seen]]
status = 401
[[error.unknown_user.seen]]
status = 200
json = { 'error.code' = [17, 18], 'error.text' = '*' }
[[error.too_many_attempts.seen]]
status = 200
xml = { 'fault.code' = 'locked' }
[[error.unavailable.seen]]
status = 200
form = { state = 'down' }
[[error.invalid_credentials.seen]]
status = 302
fields = { Location = '/login?failed' }
");
    let sid = ("set-cookie", "SID=s1");
    for (status, fields, body, expected) in [
        (200, vec![sid], "*", "s1"),
        (200, vec![sid], "<p>Wrong password!</p>", "invalid_credentials"),
        (401, vec![], "whatever", "invalid_credentials"),
        (403, vec![], "whatever", "nonsense"),
        (200, vec![sid], r#"{"error":{"code":18,"text":"x"}}"#, "unknown_user"),
        (200, vec![sid], r#"{"error":{"code":19,"text":"x"}}"#, "nonsense"),
        (200, vec![sid], r#"{"error":{"code":18}}"#, "nonsense"),
        (200, vec![], "<fault><code a='1'>locked</code></fault>", "throttled"),
        (200, vec![], "state=down", "nonsense"),
        (302, vec![("location", "/login?failed")], "", "invalid_credentials"),
        (302, vec![("location", "/login")], "", "nonsense"),
    ] {
        assert_eq!(meaning(&dialect, status, &fields, body), expected, "{status} {body}");
    }
    assert!(!dialect.tells_unknown_user, "its own answers are as they were");
    assert!(dialect.hears_unknown_user());
}

#[test]
fn what_an_answer_means_is_said_in_full_or_reported() {
    for (rest, path, message) in [
        (
            "[[error.default.seen]]\nstatus = 200\ntext = 'x'",
            "error.default.seen",
            "goes with a reason",
        ),
        (
            "[[error.invalid_credentials.seen]]\nstatus = 200",
            "error.invalid_credentials.seen[0]",
            "says only a status",
        ),
        (
            "[[error.invalid_credentials.seen]]\nstatus = 503",
            "error.invalid_credentials.seen[0]",
            "says only a status",
        ),
        (
            "[[error.invalid_credentials.seen]]\nstatus = 99",
            "error.invalid_credentials.seen[0].status",
            "between 200 and 599",
        ),
        (
            "[[error.invalid_credentials.seen]]\nstatus = 200\ntext = 'x'\njson = { a = 1 }",
            "error.invalid_credentials.seen[0]",
            "several bodies",
        ),
        (
            "[[error.invalid_credentials.seen]]\nstatus = 200\nxml = { a = 1 }",
            "error.invalid_credentials.seen[0].xml.a",
            "must be a value",
        ),
    ] {
        let found = checked(&format!(
            "credential = [{{ basic = {{}} }}]\nreply = {{ json = {{ t = '$access.token' }} }}\n{rest}"
        ));
        let found = found.expect_err(rest);
        assert!(
            found.iter().any(|it| it.path == path && it.message.contains(message)),
            "{rest}: {found:?}"
        );
    }
}

#[test]
fn a_request_has_what_the_dialect_sends_besides() {
    let dialect = own("where = { json = { method = ['login', 'logon'] }, query = { v = '2' } }
require = { json = { client = '*' }, fields = { X-App = 'web' } }
credential = [{ form = { username = 'u', password = 'p' } }, { json = { username = 'params[0]', password = 'params[1]' } }]
send = { json = { client = '$config.client', nested.list = ['$config.db', 1, true] }, query = { q = 'a&b' }, fields = { X-Two = '${config.db}-x' } }
reply = { json = { t = '$access.token', id = '$session.id' } }
[[endpoint]]
step = 'logout'
request = 'DELETE /s/{id}'
credential = [{ token = { cookie = 'SID' }, use = 'access' }]
send = { path = { id = '$session.id' } }
reply = { status = 204 }
[config]
db = 'd 1'
client = { name = 7 }
");
    let asked = login(&dialect, "ann", &"pw".into()).expect("asked");

    assert_eq!(asked.path, "/l?q=a%26b&v=2");
    assert_eq!(asked.headers["x-two"], "d 1-x");
    assert_eq!(asked.headers["x-app"], "web");
    let body = r#"{"params":["ann","pw"],"client":{"name":7},"nested":{"list":["d 1",1,true]},"method":"login"}"#;
    assert_eq!(String::from_utf8_lossy(&asked.body), body);
    let mut session = tokens("s.1", None);
    session.session = Some("a/b c".to_owned());
    assert_eq!(
        logout(&dialect, &session).err(),
        Some(RequestError::Unwritable),
        "a slash in a segment"
    );
    session.session = Some("a c".to_owned());
    let asked = logout(&dialect, &session).expect("asked");
    assert_eq!(asked.path, "/s/a%20c");
    assert_eq!(asked.headers[COOKIE], "SID=s.1");
    session.session = None;
    let missing = RequestError::Incomplete("{ path = \"id\" }".to_owned());
    assert_eq!(logout(&dialect, &session).err(), Some(missing));

    for (rest, path, message) in [
        ("send = { json = { db = '$config.none' } }", "endpoint[0].send", "needs `none`"),
        (
            "send = { json = { db = '$session.id' } }",
            "endpoint[0].send.json.db",
            "no placeholder here",
        ),
        ("send = { json = { p = 'x' } }", "endpoint[0].send.json.p", "place of the credential"),
        ("send = { json = { a = 1 }, form = { a = 1 } }", "endpoint[0].send", "two kinds of body"),
        ("send = { query = { a = [1] } }", "endpoint[0].send.query.a", "must be a text"),
        (
            "send = { fields = { Host = 'x' } }",
            "endpoint[0].send.fields.Host",
            "carries nothing else",
        ),
        ("send = { path = { x = 'y' } }", "endpoint[0].request", "has no variable"),
    ] {
        let found = checked(&format!(
            "credential = [{{ json = {{ username = 'u', password = 'p' }} }}]\nreply = {{}}\n{rest}"
        ));
        let found = found.expect_err(rest);
        assert!(
            found.iter().any(|it| it.path == path && it.message.contains(message)),
            "{rest}: {found:?}"
        );
    }
}

#[test]
fn a_login_that_no_client_can_write_is_not_delegated() {
    let reply = "reply = { json = { t = '$access.token' } }";
    let json = "credential = [{ json = { username = 'u', password = 'p' } }]";
    for (rest, error) in [
        (format!("{json}\nrequire = {{ json = {{ u = '*' }} }}"), None),
        (format!("{json}\nrequire = {{ json = {{ db = '*' }} }}"), Some("{ json = \"db\" }")),
        (format!("{json}\nwhere = {{ form = {{ a = 'b' }} }}"), Some("no login by name")),
        (
            format!(
                "{json}\nwhere = {{ json = {{ a = 'b' }} }}\nrequire = {{ form = {{ a = 'b' }} }}"
            ),
            Some("several kinds of body"),
        ),
    ] {
        let found = own(&format!("{rest}\n{reply}")).delegates();
        let text = found.as_ref().map_or_else(ToString::to_string, |()| String::new());
        assert_eq!(found.is_ok(), error.is_none(), "{rest}: {text}");
        assert!(text.contains(error.unwrap_or_default()), "{rest}: {text}");
    }
}

#[test]
fn a_call_shows_the_token_in_the_first_place_that_can_carry_it() {
    let calls = |call: &str| {
        own(&format!(
            "credential = [{{ basic = {{}} }}]\nreply = {{ json = {{ t = '$access.token', k = '$session.key' }} }}\n[call]\ncarriers = {call}"
        ))
    };
    let shown = |dialect: &Dialect, tokens: &RemoteTokens| {
        let call = tokens.call(dialect)?;
        let fields = call.fields.iter().map(|(name, value)| {
            assert!(value.is_sensitive());
            format!("{name}: {}", value.to_str().expect("text"))
        });
        let pair = |(name, value): &(String, SecretString)| format!("{name}={}", value.expose());
        let cookies = call.cookies.iter().map(|it| format!("cookie {}", pair(it)));
        let query = call.query.iter().map(|it| format!("?{}", pair(it)));
        Some(fields.chain(cookies).chain(query).collect::<Vec<_>>().join(", "))
    };
    let plain = tokens("a.b", None);
    let keyed = RemoteTokens { key: Some("k1".into()), ..plain.clone() };
    let odd = tokens("a;b", None);
    for (call, tokens, expected) in [
        ("[{ scheme = 'Token' }]", &plain, Some("authorization: Token a.b")),
        ("[{ scheme = '' }]", &plain, Some("authorization: a.b")),
        ("[{ field = 'X-T' }, { cookie = 'S' }]", &plain, Some("x-t: a.b")),
        ("[{ cookie = 'S' }]", &plain, Some("cookie S=a.b")),
        ("[{ cookie = 'S' }]", &odd, None),
        ("[{ cookie = 'S' }, { query = 'q' }]", &odd, Some("?q=a;b")),
        (
            "[{ pair = { token = { field = 'X-T' }, key = { cookie = 'K' } } }]",
            &keyed,
            Some("x-t: a.b, cookie K=k1"),
        ),
        ("[{ pair = { token = { field = 'X-T' }, key = { cookie = 'K' } } }]", &plain, None),
        (
            "[{ scheme = 'Bearer' }, { pair = { token = { query = 't' }, key = { query = 'k' } } }]",
            &keyed,
            Some("?t=a.b, ?k=k1"),
        ),
    ] {
        assert_eq!(shown(&calls(call), tokens).as_deref(), expected, "{call}");
    }
}

#[test]
fn refreshed_tokens_replace_those_that_were_answered() {
    let oauth = dialect("oauth2_password");
    let before = RemoteTokens { session: Some("s".to_owned()), ..tokens("a1", Some("r1")) };
    let asked = refresh(&oauth, &before).expect("asked");
    assert_eq!(String::from_utf8_lossy(&asked.body), "refresh_token=r1&grant_type=refresh_token");
    for (body, access, refresh) in [
        (r#"{"access_token":"a2","token_type":"Bearer","expires_in":60}"#, "a2", "r1"),
        (r#"{"access_token":"a2","token_type":"Bearer","refresh_token":"r2"}"#, "a2", "r2"),
    ] {
        let values = accepted(hear(&oauth, asked.endpoint, 200, body));
        let after = before.renewed(&values, NOW).expect("a token");
        assert_eq!(after.access, access.into());
        assert_eq!(after.refresh, Some(refresh.into()));
        assert_eq!(after.session.as_deref(), Some("s"));
    }
    assert!(!format!("{before:?}").contains("a1"));
}

#[test]
fn a_refused_call_is_known_by_its_head() {
    for (name, status, location, expected) in [
        ("datarhei", 401, None, Some(CallRefusal::Ended)),
        ("datarhei", 403, None, None),
        ("qbittorrent", 403, None, Some(CallRefusal::Unclear)),
        ("qbittorrent", 401, None, Some(CallRefusal::Ended)),
        ("spring_form", 302, Some("https://legacy.example/login"), Some(CallRefusal::Ended)),
        ("spring_form", 302, Some("/elsewhere"), None),
        ("spring_form", 302, None, None),
        ("soap_login", 500, None, None),
        ("zabbix", 200, None, None),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(location) = location {
            headers.insert("location", location.parse().expect("a value"));
        }
        let status = http::StatusCode::from_u16(status).expect("a status");
        assert_eq!(CallRefusal::of(&dialect(name), status, &headers), expected, "{name} {status}");
    }
}

#[test]
fn a_program_shows_its_own_id_beside_the_user() {
    let token = "credential = [{ form = { username = 'u', password = 'p' } }]\nreply = { json = { t = '$access.token' } }\n";
    let by_form = own(&format!(
        "client = {{ form = {{ id = 'client_id', secret = 'client_secret' }} }}\n{token}"
    ));
    let by_basic = own(&format!("client = {{ basic = {{}} }}\n{token}"));
    let program = ProgramCredential { id: "app:1".to_owned(), secret: Some("s&t".into()) };
    let public = ProgramCredential { secret: None, ..program.clone() };
    let asked = |dialect, program| login(DialectClient::new(dialect, program), "ann", &"pw".into());
    let body = |dialect, program| {
        let asked = asked(dialect, Some(program)).expect("asked");
        String::from_utf8_lossy(&asked.body).into_owned()
    };

    assert_eq!(body(&by_form, &program), "u=ann&p=pw&client_id=app%3A1&client_secret=s%26t");
    assert_eq!(body(&by_form, &public), "u=ann&p=pw&client_id=app%3A1");
    assert_eq!(body(&by_basic, &program), "u=ann&p=pw");
    let field = &asked(&by_basic, Some(&program)).expect("asked").headers["authorization"];
    // `app%3A1:s%26t`
    assert_eq!(field, "Basic YXBwJTNBMTpzJTI2dA==");
    for dialect in [&by_form, &by_basic] {
        assert_eq!(asked(dialect, None).expect("asked").body, "u=ann&p=pw", "without one");
        assert_eq!(dialect.delegates(), Ok(()));
        assert!(dialect.asks_for_program());
    }
}
