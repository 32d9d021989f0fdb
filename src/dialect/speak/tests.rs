use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::dialect::{
    ErrorFacts, Facts, Presented, RawDialect, Reason, SessionFacts, TokenFacts, UserFacts, serve,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ENDS: Timestamp = Timestamp::from_secs(1_800_003_600);

fn dialect(name: &str) -> std::sync::Arc<Dialect> {
    Dialect::builtin(name).expect("built in")
}

fn endpoint(dialect: &Dialect, step: Step) -> &Endpoint {
    dialect.endpoints.iter().find(|endpoint| endpoint.step == step).expect("the endpoint")
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object") };
    object
}

/// What a gateway knows of a user who logs in.
fn facts(dialect: &Dialect) -> Facts {
    let user = UserFacts {
        id: "4711".to_owned(),
        name: "alice".to_owned(),
        email: Some("alice@example.com".to_owned()),
        roles: vec!["admin".to_owned()],
        scopes: vec!["read".to_owned()],
        claims: object(json!({ "features": ["paid", "app"] })),
    };
    let session = SessionFacts {
        id: "s1".to_owned(),
        key: Some("cdc43d9f-a0b4-4e9e-a0a2-3e3ea0e54d7d".into()),
        created: NOW,
        expires: ENDS,
    };
    let token = |token: String| TokenFacts {
        token: token.into(),
        id: "j1".to_owned(),
        issued: NOW,
        expires: ENDS,
    };
    let mut facts = Facts {
        now: NOW,
        user: Some(user),
        session: Some(session),
        access: Some(token(String::new())),
        refresh: Some(token("r.e.f".to_owned())),
        ..Facts::default()
    };
    let mut claims = object(dialect.access_claims.render(&facts, dialect));
    claims.insert("exp".to_owned(), ENDS.secs().into());
    facts.access = Some(token(jwt(&Value::Object(claims))));
    facts
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "alg": "ES256" })), part(claims))
}

fn accepted(heard: Heard) -> HeardFacts {
    match heard {
        Heard::Accepted(facts) => *facts,
        other => panic!("not accepted: {other:?}"),
    }
}

/// What is asked, as the one who serves the dialect reads it.
fn read_back(ask: &Ask<'_>) -> Result<Presented, Reason> {
    let base = Uri::from_static("https://legacy.example/base/");
    let (head, body) = ask.request(&base).expect("a request").into_parts();
    assert_eq!(head.uri.to_string(), format!("https://legacy.example/base{}", ask.endpoint.path));
    assert_eq!(head.method, ask.endpoint.method);
    serve::read(ask.endpoint, &head, &body)
}

fn say(dialect: &Dialect, step: Step, status: u16, body: &str) -> Heard {
    hear(dialect, endpoint(dialect, step), status, body.as_bytes())
}

fn label(heard: &Heard) -> &'static str {
    match heard {
        Heard::Accepted(_) => "accepted",
        Heard::Pending => "pending",
        Heard::Refused(reason) => reason.code(),
        Heard::Throttled => "throttled",
        Heard::Nonsense(_) => "nonsense",
    }
}

#[test]
fn what_is_asked_is_read_by_the_dialect_that_serves() {
    for name in Dialect::builtin_names() {
        let dialect = dialect(name);
        for (user, password) in
            [("alice", "p:\"\\ä {}"), ("a@b.example", " spaces "), ("ä", "日本")]
        {
            let ask = login(&dialect, user, &password.into()).expect("asked");

            let presented =
                Presented::Password { name: user.to_owned(), password: password.into() };
            assert_eq!(read_back(&ask), Ok(presented), "{name}: {user}");
        }
    }
    for name in ["datarhei", "avenia", "native"] {
        let dialect = dialect(name);
        let ask = refresh(&dialect, &"r.e.f".into()).expect("asked");
        let presented = Presented::Token { token: "r.e.f".into(), purpose: BearerUse::Refresh };
        assert_eq!(read_back(&ask), Ok(presented), "{name}");
    }
    let nomic = dialect("nomic");
    let presented = Presented::Token { token: "a.b.c".into(), purpose: BearerUse::Renew };
    assert_eq!(read_back(&renew(&nomic, &"a.b.c".into()).expect("asked")), Ok(presented));
    for name in ["avenia", "native"] {
        let dialect = dialect(name);
        let ask = verify_code(&dialect, "a@b.example", &"004711".into()).expect("asked");
        let code = Presented::Code { name: "a@b.example".to_owned(), code: "004711".into() };
        assert_eq!(read_back(&ask), Ok(code), "{name}");
    }
}

#[test]
fn what_a_dialect_cannot_carry_is_never_sent() {
    let (nomic, native) = (dialect("nomic"), dialect("native"));
    for (dialect, name, password, why) in [
        (&native, "alice", "", "an empty password may mean nobody in particular"),
        (&nomic, "alice", "", "in Basic too"),
        (&native, "", "secret", "an empty name"),
        (&nomic, "a:b", "secret", "the name would end at its colon"),
        (&nomic, "a\r\nX-Evil: 1", "secret", "a line of its own"),
        (&nomic, "alice", "a\u{0}b", "a control character"),
    ] {
        assert_eq!(
            login(dialect, name, &password.into()).err(),
            Some(CannotAsk::Unwritable),
            "{why}"
        );
    }
    let webitel = dialect("webitel");
    assert_eq!(refresh(&webitel, &"t".into()).err(), Some(CannotAsk::NoEndpoint));
    assert_eq!(renew(&nomic, &"a b".into()).err(), Some(CannotAsk::Unwritable));
    let asked = login(&native, "alice", &"hunter2".into()).expect("asked");
    assert!(!format!("{asked:?}").contains("hunter2"), "{asked:?}");
}

#[test]
fn what_serve_renders_is_heard() {
    for name in ["webitel", "datarhei", "aviate", "nomic", "native"] {
        let dialect = dialect(name);
        let endpoint = endpoint(&dialect, Step::Login);
        let facts = facts(&dialect);
        let answer = serve::render(&endpoint.reply, &facts, &dialect);

        let heard = accepted(hear(&dialect, endpoint, answer.status.as_u16(), &answer.body));

        let token = facts.access.as_ref().map(|access| access.token.clone());
        assert_eq!(heard.access_token, token, "{name}");
        assert_eq!(heard.refresh_token.is_some(), dialect.gives_refresh_token, "{name}");
        assert_eq!(heard.key.is_some(), dialect.gives_key, "{name}");
        assert_eq!(heard.expires(NOW), Some(ENDS), "{name}: by the answer or by the token");
        assert!(!format!("{heard:?}").contains("c2ln"), "{heard:?}");
    }
}

#[test]
fn who_it_is_is_heard_where_the_dialect_says_it() {
    let told = |name: &str| {
        let dialect = dialect(name);
        let endpoint = endpoint(&dialect, Step::Login);
        let answer = serve::render(&endpoint.reply, &facts(&dialect), &dialect);
        accepted(hear(&dialect, endpoint, answer.status.as_u16(), &answer.body))
    };
    let webitel = told("webitel");
    assert_eq!(webitel.name.as_deref(), Some("alice"));
    assert_eq!(webitel.roles, Some(vec!["admin".to_owned()]), "the number, by the dialect's table");
    let datarhei = told("datarhei");
    assert_eq!(datarhei.name.as_deref(), Some("alice"), "its tokens name him in `sub`");
    assert_eq!(datarhei.roles, None, "it says nothing of roles");
    let aviate = told("aviate");
    assert_eq!(aviate.email.as_deref(), Some("alice@example.com"));
    assert_eq!(aviate.claims["features"], json!(["paid", "app"]), "a joined list is a list again");
    assert_eq!(told("nomic").name, None, "its token's `sub` is not said to be anything");
    assert!(dialect("webitel").tells_name() && !dialect("nomic").tells_name());
}

#[test]
fn second_steps_and_refreshes_are_heard() {
    let avenia = dialect("avenia");
    let facts = facts(&avenia);
    let step = endpoint(&avenia, Step::Login);
    let pending = step.pending_reply.as_ref().expect("it has one");
    let answer = serve::render(pending, &facts, &avenia);
    assert_eq!(label(&hear(&avenia, step, 200, &answer.body)), "pending");
    assert_eq!(
        label(&say(&dialect("native"), Step::Login, 202, r#"{"step":"verify"}"#)),
        "pending"
    );
    for (name, step) in [
        ("avenia", Step::VerifyCode),
        ("avenia", Step::Refresh),
        ("datarhei", Step::Refresh),
        ("native", Step::VerifyCode),
        ("native", Step::Refresh),
    ] {
        let dialect = dialect(name);
        let endpoint = endpoint(&dialect, step);
        let answer = serve::render(&endpoint.reply, &facts, &dialect);
        let heard = accepted(hear(&dialect, endpoint, answer.status.as_u16(), &answer.body));
        assert!(heard.access_token.is_some(), "{name} {step:?}");
    }
}

#[test]
fn refusals_that_serve_renders_are_heard_as_what_they_are() {
    for name in Dialect::builtin_names() {
        let dialect = dialect(name);
        for endpoint in dialect.endpoints.iter().filter(|endpoint| endpoint.step != Step::Answer) {
            for reason in Reason::ALL {
                let facts = ErrorFacts {
                    reason: *reason,
                    path: "/some/path",
                    request_id: "r1",
                    detail: None,
                    now: NOW,
                };
                let answer = endpoint.errors.render(&facts);

                let heard = hear(&dialect, endpoint, answer.status.as_u16(), &answer.body);

                let is_password =
                    matches!(reason, Reason::InvalidCredentials) && endpoint.step == Step::Login;
                let why = format!("{name} {:?} {reason:?}: {heard:?}", endpoint.step);
                match heard {
                    Heard::Refused(heard) if is_password => {
                        assert_eq!(heard, Reason::InvalidCredentials, "{why}");
                    }
                    // What looks the same on the wire cannot be told apart.
                    Heard::Refused(reason) => {
                        let same = endpoint.errors.render(&ErrorFacts { reason, ..facts });
                        assert_eq!((same.status, same.body), (answer.status, answer.body), "{why}");
                    }
                    Heard::Throttled => assert_eq!(answer.status.as_u16(), 429, "{why}"),
                    Heard::Nonsense(_) => assert!(!is_password, "{why}"),
                    Heard::Accepted(_) | Heard::Pending => panic!("{why}"),
                }
            }
        }
    }
    let webitel = dialect("webitel");
    let login = |status, body| say(&webitel, Step::Login, status, body);
    let unknown = r#"{"status":"error","info":"User not found"}"#;
    assert_eq!(label(&login(404, unknown)), "unknown_user");
    let wrong = r#"{"status":"error","info":"Invalid credentials"}"#;
    assert_eq!(label(&login(401, wrong)), "invalid_credentials");
}

#[test]
fn answers_of_real_servers_are_heard_though_they_differ_from_their_pages() {
    let token = jwt(&json!({ "sub": "alice", "usefor": "access", "exp": 1_800_000_600 }));
    let pair =
        |rest: &str| format!(r#"{{"access_token":"{token}","refresh_token":"{token}"{rest}}}"#);
    for (name, status, body, heard, why) in [
        ("datarhei", 200, pair(r#","extra":{"a":[1]}"#), "accepted", "more than is needed"),
        (
            "datarhei",
            401,
            r#"{"code":401,"message":"Invalid authorization credentials","details":["bcrypt: no","x"]}"#.to_owned(),
            "invalid_credentials",
            "its own words, built like the page's",
        ),
        ("datarhei", 401, r#"{"code":401,"message":"Unauthorized","details":[]}"#.to_owned(),
            "invalid_credentials", "no words at all"),
        ("datarhei", 401, r#"{"code":401}"#.to_owned(), "nonsense", "but not built like it"),
        (
            "webitel",
            200,
            format!(r#"{{"key":"k","username":"100@d","expires":"1800003600000","token":"{token}","role":{{"x":1}},"acl":{{}}}}"#),
            "accepted",
            "`expires` as text, `role` of another kind",
        ),
        ("webitel", 200, format!(r#"{{"key":"k","token":"{token}"}}"#), "accepted", "the rest is left out"),
        ("aviate", 200, r#"{"token":"opaque"}"#.to_owned(), "accepted", "a token need be no JWT"),
        ("nomic", 403, String::new(), "invalid_credentials", "an empty 403 is all it says"),
    ] {
        let dialect = dialect(name);
        let found = say(&dialect, Step::Login, status, &body);
        assert_eq!(label(&found), heard, "{name}, {why}: {found:?}");
    }
    let webitel = dialect("webitel");
    let body = format!(r#"{{"key":"k","token":"{token}","expires":1800003600000.5,"role":"0"}}"#);
    let heard = accepted(say(&webitel, Step::Login, 200, &body));
    assert_eq!((heard.expires, heard.roles), (Some(ENDS), Some(vec!["root".to_owned()])));
    let strange = accepted(say(&webitel, Step::Login, 200, r#"{"key":"k","token":"t","role":9}"#));
    assert_eq!(strange.roles, Some(Vec::new()), "a number that stands for nothing gives nothing");
}

#[test]
fn nothing_else_is_a_success_or_a_refusal() {
    let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(LONGEST_ANSWER));
    let deep = format!(r#"{{"token":"t","x":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    for (name, status, body, why) in [
        ("aviate", 500, r#"{"token":"t"}"#, "an outage"),
        ("aviate", 503, "", "an outage without words"),
        ("nomic", 500, "", "of a dialect with empty refusals"),
        ("aviate", 201, r#"{"token":"t"}"#, "another status than the dialect's"),
        ("aviate", 302, r#"{"token":"t"}"#, "a redirect"),
        ("aviate", 200, "", "nothing"),
        ("aviate", 200, "<html>Log in</html>", "a page"),
        ("aviate", 200, r#"{"error":"Invalid"}"#, "an error with 200"),
        ("aviate", 200, r#"{"token":""}"#, "an empty token"),
        ("aviate", 200, r#"{"token":null}"#, "no token"),
        ("aviate", 200, r#"{"token":17}"#, "a number"),
        ("aviate", 200, r#"{"token":"a b"}"#, "words"),
        ("aviate", 200, r#"{"token":"t","token":"u"}"#, "two tokens"),
        ("aviate", 200, r#"[{"token":"t"}]"#, "a list"),
        ("aviate", 200, r#"{"token":"t"} {}"#, "two answers"),
        ("aviate", 200, &long, "too long"),
        ("aviate", 200, &deep, "too deep"),
        ("nomic", 200, r#"{"isSuccess":false,"token":"t"}"#, "no success, by its own words"),
        ("nomic", 200, r#"{"token":"t"}"#, "not said to be one"),
        ("nomic", 403, "Forbidden", "a firewall's words"),
        ("nomic", 401, "", "not the status that it refuses with"),
        ("webitel", 200, r#"{"token":"t"}"#, "a pair without its key"),
        ("webitel", 401, "<html>", "another system's login"),
        ("webitel", 401, "", "no words"),
        ("webitel", 404, "", "a wrong address is no unknown user"),
        ("webitel", 404, r#"{"status":"error","info":"Not here"}"#, "nor in other words"),
        (
            "webitel",
            401,
            r#"{"status":"error","info":"Invalid Token or Key"}"#,
            "of something else",
        ),
        ("webitel", 400, r#"{"status":"error","info":"User name is required"}"#, "badly asked"),
        (
            "datarhei",
            400,
            r#"{"code":400,"message":"Bad Request","details":["Missing authorization credentials"]}"#,
            "badly asked",
        ),
        ("avenia", 400, r#"{"error":"whatever"}"#, "a 400 in other words"),
        ("native", 403, "{}", "a status that it has for something else"),
        ("native", 200, r#"{"access_token":"t","token_type":"mac"}"#, "another kind of token"),
    ] {
        let dialect = dialect(name);
        let heard = say(&dialect, Step::Login, status, body);
        assert_eq!(label(&heard), "nonsense", "{name} {status}: {why}: {heard:?}");
    }
    assert_eq!(label(&say(&dialect("native"), Step::Login, 429, "<html>")), "throttled");
}

#[test]
fn a_login_is_delegated_only_where_its_success_can_be_known() {
    let own = |endpoint: &str| {
        let raw: RawDialect = toml::from_str(&format!(
            "name = 'x'\n[[endpoint]]\nstep = 'login'\nrequest = 'POST /l'\n{endpoint}"
        ))
        .expect("TOML");
        Dialect::check(raw).expect("no problems")
    };
    for name in ["webitel", "datarhei", "aviate", "nomic", "native"] {
        assert_eq!(dialect(name).delegates(), Ok(()), "{name}");
    }
    assert_eq!(dialect("avenia").delegates(), Err(CannotDelegate::SecondStep));
    let empty = own("credential = [{ basic = {} }]\nreply = {}");
    assert_eq!(empty.delegates(), Err(CannotDelegate::NoProof));
    let heard = hear(&empty, &empty.endpoints[0], 200, b"");
    assert_eq!(label(&heard), "nonsense", "any server answers 200 to something");
    let trade =
        own("credential = [{ bearer = 'renew' }]\nreply = { json = { t = '$access.token' } }");
    assert_eq!(trade.delegates(), Err(CannotDelegate::NoPassword));
    let mixed = own("credential = [{ basic = {} }]\n\
         reply = { json = { a = 'Bearer $access.token', n = '<$user.name> $user.email', l = ['$user.id'] } }");
    let body = br#"{"a":"Bearer t1","n":"<ann> a@b","l":[7,8]}"#;
    let heard = accepted(hear(&mixed, &mixed.endpoints[0], 200, body));
    assert_eq!(heard.access_token, Some("t1".into()), "taken out of the text around it");
    assert_eq!((heard.name.as_deref(), heard.email.as_deref()), (Some("ann"), Some("a@b")));
    assert_eq!(heard.id, None, "a list of another length is not the dialect's");
    let glued =
        own("credential = [{ basic = {} }]\nreply = { json = { a = '$session.id$access.token' } }");
    let heard = hear(&glued, &glued.endpoints[0], 200, br#"{"a":"whatever"}"#);
    assert_eq!(label(&heard), "nonsense", "a token that cannot be told from what is before it");
}

#[test]
fn a_lying_token_tells_nothing() {
    let aviate = dialect("aviate");
    for (claims, email) in [
        (json!({ "email": "a@b", "email_verified": true, "token_use": "id" }), Some("a@b")),
        (json!({ "email": "a@b", "email_verified": false, "token_use": "id" }), None),
        (json!({ "email": "a\nb", "email_verified": true, "token_use": "id" }), None),
        (json!({ "email": ["a@b"], "email_verified": true, "token_use": "id" }), None),
    ] {
        let body = format!(r#"{{"token":"{}"}}"#, jwt(&claims));
        let heard = accepted(say(&aviate, Step::Login, 200, &body));
        assert_eq!(heard.email.as_deref(), email, "{claims}");
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"email":"a@b","email":"c@d"}"#);
    let body = format!(r#"{{"token":"e30.{twice}.c2ln"}}"#);
    assert!(accepted(say(&aviate, Step::Login, 200, &body)).token.is_empty());
    let ttl = HeardFacts { ttl: Some(Duration::from_secs(60)), ..HeardFacts::default() };
    assert_eq!(ttl.expires(NOW), Some(NOW.plus(Duration::from_secs(60))));
}

proptest! {
    /// Whatever a server answers, only a token makes a success of it, and no outage a refusal.
    #[test]
    fn anything_may_be_answered(
        status in 100_u16..600,
        body in prop_oneof![
            any::<Vec<u8>>(),
            "[\\[\\]{}\":,a\\\\u0-9]{0,60}".prop_map(String::into_bytes),
            "\\{\"(token|key|code|status|info|error|isSuccess)\":(\"[a-z ]{0,9}\"|[0-9]{1,4}|true|null)\\}"
                .prop_map(String::into_bytes),
        ],
    ) {
        for name in Dialect::builtin_names() {
            let dialect = Dialect::builtin(name).expect("built in");
            for endpoint in &dialect.endpoints {
                match hear(&dialect, endpoint, status, &body) {
                    Heard::Accepted(facts) => {
                        prop_assert_eq!(endpoint.reply.status.as_u16(), status);
                        let is_login = endpoint.step == Step::Login;
                        prop_assert!(!is_login || facts.access_token.is_some());
                    }
                    Heard::Refused(_) => prop_assert!((400..500).contains(&status)),
                    Heard::Pending | Heard::Throttled | Heard::Nonsense(_) => {}
                }
            }
        }
    }
}
