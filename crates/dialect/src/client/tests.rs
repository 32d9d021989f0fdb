use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    DialectProblem, ErrorValues, LocalResponse, PresentedCredential, RawDialect, Reason,
    SessionValues, TemplateValues, TokenValues, UserValues, server,
};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserProfile;

mod places;
mod rendered;
mod strange;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ENDS: Timestamp = Timestamp::from_secs(1_800_003_600);

fn dialect(name: &str) -> Arc<Dialect> {
    Dialect::builtin(name).expect("built in")
}

/// A dialect with one login, of which this is the rest.
fn checked(rest: &str) -> Result<Dialect, Vec<DialectProblem>> {
    let head = "name = 'x'\n[[endpoint]]\nstep = 'login'\nrequest = 'POST /l'\n";
    let raw: RawDialect = toml::from_str(&format!("{head}{rest}")).expect("TOML");
    Dialect::check(raw)
}

fn own(rest: &str) -> Dialect {
    checked(rest).expect("no problems")
}

fn endpoint(dialect: &Dialect, step: EndpointStep) -> &Endpoint {
    dialect.endpoints.iter().find(|endpoint| endpoint.step == step).expect("the endpoint")
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object") };
    object
}

/// The facts that a gateway knows of a user who logs in.
fn facts(dialect: &Dialect) -> TemplateValues {
    let user = UserValues {
        id: "4711".to_owned(),
        profile: UserProfile {
            name: "alice".to_owned(),
            email: Some("alice@example.com".to_owned()),
            roles: vec!["admin".to_owned()],
            scopes: vec!["read".to_owned()],
            claims: object(json!({ "features": ["paid", "app"] })),
        },
    };
    let session = SessionValues {
        id: "s1".to_owned(),
        csrf: Some("c".into()),
        key: Some("cdc43d9f-a0b4-4e9e-a0a2-3e3ea0e54d7d".into()),
        created: NOW,
        expires: ENDS,
    };
    let token = |token: String| TokenValues {
        token: token.into(),
        id: "j1".to_owned(),
        issued: NOW,
        expires: ENDS,
    };
    let mut facts = TemplateValues {
        now: NOW,
        user: Some(user),
        session: Some(session),
        access: Some(token(String::new())),
        refresh: Some(token("r.e.f".to_owned())),
        ..TemplateValues::default()
    };
    let mut claims = object(dialect.render(&dialect.access_claims, &facts));
    claims.insert("exp".to_owned(), ENDS.secs().into());
    facts.access = Some(token(jwt(&Value::Object(claims))));
    facts
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "alg": "ES256" })), part(claims))
}

fn accepted(heard: LoginOutcome) -> ResponseValues {
    match heard {
        LoginOutcome::Accepted(facts) => *facts,
        other => panic!("not accepted: {other:?}"),
    }
}

/// The request, read as the system that serves the dialect would read it.
fn read_back(ask: &ClientRequest<'_>) -> Result<PresentedCredential, Reason> {
    let base = Uri::from_static("https://legacy.example/base/");
    let (head, body) = ask.request(&base).expect("a request").into_parts();
    assert_eq!(head.uri.to_string(), format!("https://legacy.example/base{}", ask.endpoint.path));
    assert_eq!(head.method, ask.endpoint.method);
    server::read(ask.endpoint, &head, &[], &body)
}

fn say(dialect: &Dialect, step: EndpointStep, status: u16, body: &str) -> LoginOutcome {
    hear(dialect, endpoint(dialect, step), status, body)
}

fn hear(dialect: &Dialect, endpoint: &Endpoint, status: u16, body: &str) -> LoginOutcome {
    let headers = HeaderMap::new();
    parse_response(
        dialect,
        endpoint,
        &ReceivedAnswer { status, headers: &headers, body: body.as_bytes() },
    )
}

/// The meaning of an answer that the gateway rendered.
fn heard(dialect: &Dialect, endpoint: &Endpoint, answer: &LocalResponse) -> LoginOutcome {
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        headers.append(name.clone(), value.clone());
    }
    let status = answer.status.as_u16();
    parse_response(
        dialect,
        endpoint,
        &ReceivedAnswer { status, headers: &headers, body: &answer.body },
    )
}

/// A session with these tokens.
fn tokens(access: &str, refresh: Option<&str>) -> RemoteTokens {
    RemoteTokens {
        access: access.into(),
        key: None,
        refresh: refresh.map(SecretString::from),
        session: None,
        expires: None,
        refresh_expires: None,
    }
}

fn label(heard: &LoginOutcome) -> &'static str {
    match heard {
        LoginOutcome::Accepted(_) => "accepted",
        LoginOutcome::Pending(_) => "pending",
        LoginOutcome::Refused(reason) => reason.code(),
        LoginOutcome::Throttled => "throttled",
        LoginOutcome::Unexpected(_) => "nonsense",
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

            let presented = PresentedCredential::Password {
                name: user.to_owned(),
                password: password.into(),
                code: None,
            };
            assert_eq!(read_back(&ask), Ok(presented), "{name}: {user}");
        }
    }
    for name in ["datarhei", "avenia", "native"] {
        let dialect = dialect(name);
        let ask = refresh(&dialect, &tokens("a.b.c", Some("r.e.f"))).expect("asked");
        let presented =
            PresentedCredential::Token { token: "r.e.f".into(), purpose: TokenUse::Refresh };
        assert_eq!(read_back(&ask), Ok(presented), "{name}");
    }
    let nomic = dialect("nomic");
    let presented = PresentedCredential::Token { token: "a.b.c".into(), purpose: TokenUse::Renew };
    assert_eq!(read_back(&refresh(&nomic, &tokens("a.b.c", None)).expect("asked")), Ok(presented));
    for name in ["avenia", "native"] {
        let dialect = dialect(name);
        let ticket = (name == "native").then(|| "t-1".into());
        let code = "004711".into();
        let ask = verify_code(&dialect, "a@b.example", &code, Some(&"t-1".into()));
        let ask = ask.expect("asked");
        let code = PresentedCredential::Code { name: "a@b.example".to_owned(), code, ticket };
        assert_eq!(read_back(&ask), Ok(code), "{name}");
    }
}

#[test]
fn what_a_dialect_cannot_carry_is_never_sent() {
    let nomic = dialect("nomic");
    let native = dialect("native");
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
            Some(RequestError::Unwritable),
            "{why}"
        );
    }
    let webitel = dialect("webitel");
    assert_eq!(refresh(&webitel, &tokens("t", Some("r"))).err(), Some(RequestError::NoEndpoint));
    assert_eq!(refresh(&nomic, &tokens("a b", None)).err(), Some(RequestError::Unwritable));
    let asked = login(&native, "alice", &"hunter2".into()).expect("asked");
    assert!(!format!("{asked:?}").contains("hunter2"), "{asked:?}");
}

#[test]
fn what_serve_renders_is_heard() {
    for name in ["webitel", "datarhei", "aviate", "nomic", "native"] {
        let dialect = dialect(name);
        let endpoint = endpoint(&dialect, EndpointStep::Login);
        let facts = facts(&dialect);
        let answer = server::render(&endpoint.reply, &facts, &dialect);

        let heard = accepted(heard(&dialect, endpoint, &answer));

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
        let endpoint = endpoint(&dialect, EndpointStep::Login);
        let answer = server::render(&endpoint.reply, &facts(&dialect), &dialect);
        accepted(heard(&dialect, endpoint, &answer))
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
    let step = endpoint(&avenia, EndpointStep::Login);
    let pending = step.pending_reply.as_ref().expect("it has one");
    let answer = server::render(pending, &facts, &avenia);
    assert_eq!(label(&heard(&avenia, step, &answer)), "pending");
    assert_eq!(
        label(&say(
            &dialect("native"),
            EndpointStep::Login,
            202,
            r#"{"step":"verify","ticket":"t-1"}"#
        )),
        "pending"
    );
    for (name, step) in [
        ("avenia", EndpointStep::VerifyCode),
        ("avenia", EndpointStep::Refresh),
        ("datarhei", EndpointStep::Refresh),
        ("native", EndpointStep::VerifyCode),
        ("native", EndpointStep::Refresh),
    ] {
        let dialect = dialect(name);
        let endpoint = endpoint(&dialect, step);
        let answer = server::render(&endpoint.reply, &facts, &dialect);
        let heard = accepted(heard(&dialect, endpoint, &answer));
        assert!(heard.access_token.is_some(), "{name} {step:?}");
    }
}

#[test]
fn refusals_that_serve_renders_are_heard_as_what_they_are() {
    for name in Dialect::builtin_names() {
        let dialect = dialect(name);
        for endpoint in
            dialect.endpoints.iter().filter(|endpoint| endpoint.step != EndpointStep::Answer)
        {
            for reason in Reason::ALL {
                let facts = ErrorValues {
                    reason: *reason,
                    path: "/some/path",
                    request_id: "r1",
                    detail: None,
                    request: &crate::RequestValues::default(),
                    now: NOW,
                };
                let answer = endpoint.errors.render(&facts);

                let heard = heard(&dialect, endpoint, &answer);

                let is_password = matches!(reason, Reason::InvalidCredentials)
                    && endpoint.step == EndpointStep::Login;
                let why = format!("{name} {:?} {reason:?}: {heard:?}", endpoint.step);
                match heard {
                    LoginOutcome::Refused(heard) if is_password => {
                        assert_eq!(heard, Reason::InvalidCredentials, "{why}");
                    }
                    // Facts that look the same on the wire cannot be told apart.
                    LoginOutcome::Refused(reason) => {
                        let same = endpoint.errors.render(&ErrorValues { reason, ..facts });
                        assert_eq!((same.status, same.body), (answer.status, answer.body), "{why}");
                    }
                    LoginOutcome::Throttled => assert_eq!(answer.status.as_u16(), 429, "{why}"),
                    LoginOutcome::Unexpected(_) => assert!(!is_password, "{why}"),
                    // A logout may answer a session that has ended already as one that ends now.
                    LoginOutcome::Accepted(_) if endpoint.step == EndpointStep::Logout => {
                        assert_eq!(answer.status, endpoint.reply.status, "{why}");
                    }
                    LoginOutcome::Accepted(_) | LoginOutcome::Pending(_) => panic!("{why}"),
                }
            }
        }
    }
    let webitel = dialect("webitel");
    let login = |status, body| say(&webitel, EndpointStep::Login, status, body);
    let unknown = r#"{"status":"error","info":"User not found"}"#;
    assert_eq!(label(&login(404, unknown)), "unknown_user");
    let wrong = r#"{"status":"error","info":"Invalid credentials"}"#;
    assert_eq!(label(&login(401, wrong)), "invalid_credentials");
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
    assert_eq!(dialect("avenia").delegates(), Err(DelegationError::SecondStep));
    let empty = own("credential = [{ basic = {} }]\nreply = {}");
    assert_eq!(empty.delegates(), Err(DelegationError::NoProof));
    let heard = hear(&empty, &empty.endpoints[0], 200, "");
    assert_eq!(label(&heard), "nonsense", "any server answers 200 to something");
    let trade =
        own("credential = [{ bearer = 'renew' }]\nreply = { json = { t = '$access.token' } }");
    assert_eq!(trade.delegates(), Err(DelegationError::NoPassword));
    let mixed = own("credential = [{ basic = {} }]\n\
         reply = { json = { a = 'Bearer $access.token', n = '<$user.name> $user.email', l = ['$user.id'] } }");
    let body = r#"{"a":"Bearer t1","n":"<ann> a@b","l":[7,8]}"#;
    let heard = accepted(hear(&mixed, &mixed.endpoints[0], 200, body));
    assert_eq!(heard.access_token, Some("t1".into()), "taken out of the text around it");
    assert_eq!((heard.name.as_deref(), heard.email.as_deref()), (Some("ann"), Some("a@b")));
    assert_eq!(heard.id, None, "a list of another length is not the dialect's");
    let glued =
        own("credential = [{ basic = {} }]\nreply = { json = { a = '$session.id$access.token' } }");
    let heard = hear(&glued, &glued.endpoints[0], 200, r#"{"a":"whatever"}"#);
    assert_eq!(label(&heard), "nonsense", "a token that cannot be told from what is before it");
}

#[test]
fn a_request_that_is_printed_shows_no_credential() {
    let dialect = own("credential = [{ query = { username = 'u', password = 'p' } }]\n\
         reply = { json = { t = '$access.token' } }\n\
         [[endpoint]]\nstep = 'logout'\nrequest = 'DELETE /tokens/{token}'\n\
         credential = [{ token = { path = 'token' }, use = 'access' }]\nreply = {}\n");

    let login = login(&dialect, "alice", &"hunter2".into()).expect("asked");
    let logout = logout(&dialect, &tokens("a.b.c", None)).expect("asked");

    assert!(login.path.contains("hunter2") && logout.path.contains("a.b.c"));
    assert_eq!(format!("{login:?}"), "Ask { method: POST, path: \"/l\", .. }");
    assert_eq!(format!("{logout:?}"), "Ask { method: DELETE, path: \"/tokens/***\", .. }");
}
