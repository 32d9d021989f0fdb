use serde_json::{Value, json};

use super::*;
use crate::server::render;
use crate::{
    Endpoint, EndpointStep, ErrorFormat, ErrorValues, LoginValues, Reason, SessionValues,
    TemplateValues, TokenValues, UserValues,
};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserProfile;

fn dialects() -> impl Iterator<Item = Arc<Dialect>> {
    Dialect::builtin_names().map(|name| Dialect::builtin(name).expect(name))
}

fn endpoint(dialect: &Dialect, step: EndpointStep) -> &Endpoint {
    dialect.endpoints.iter().find(|endpoint| endpoint.step == step).expect("has the step")
}

/// All facts are known, as in a login with every feature.
fn facts() -> TemplateValues {
    let token = |token: &str, seconds: u64| TokenValues {
        token: token.into(),
        id: "j1".to_owned(),
        issued: Timestamp::from_secs(1000),
        expires: Timestamp::from_secs(1000 + seconds),
    };
    TemplateValues {
        now: Timestamp::from_millis(1_000_999),
        login: LoginValues::default(),
        user: Some(UserValues {
            id: "u1".to_owned(),
            profile: UserProfile {
                name: "100@mydomain.com".to_owned(),
                email: Some("e@x.example".to_owned()),
                roles: vec!["user".to_owned(), "admin".to_owned()],
                scopes: vec![],
                claims: serde_json::Map::from_iter([("features".to_owned(), json!(["a", "b"]))]),
            },
        }),
        session: Some(SessionValues {
            id: "s1".to_owned(),
            csrf: Some("c".into()),
            key: Some("k1".into()),
            created: Timestamp::from_secs(1000),
            expires: Timestamp::from_secs(9000),
        }),
        access: Some(token("at", 600)),
        refresh: Some(token("rt", 86_400)),
        ticket: Some("the ticket".into()),
        ..TemplateValues::default()
    }
}

fn answer(dialect: &Dialect, step: EndpointStep) -> String {
    let answer = render(&endpoint(dialect, step).reply, &facts(), dialect);
    String::from_utf8(answer.body.to_vec()).expect("text")
}

fn error(form: &ErrorFormat, reason: Reason) -> (u16, String) {
    let now = Timestamp::from_millis(1_677_273_555_137);
    let facts = ErrorValues {
        reason,
        path: "/p",
        request_id: "r",
        detail: None,
        request: &crate::RequestValues::default(),
        now,
    };
    let answer = form.render(&facts);
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).expect("text"))
}

#[test]
fn every_file_is_free_of_problems_and_carries_its_name() {
    for (name, _) in FILES {
        let raw = toml::from_str(Dialect::builtin_text(name).expect(name));
        let dialect = Dialect::check(raw.unwrap_or_else(|error| panic!("{name}: {error}")));
        assert_eq!(dialect.unwrap_or_else(|problems| panic!("{name}: {problems:?}")).name, *name);
    }
}

#[test]
fn every_reason_has_its_dialects_shape_at_every_endpoint() {
    for dialect in dialects() {
        let members: &[&str] = match dialect.name.as_str() {
            "webitel" => &["status", "info"],
            "datarhei" => &["code", "message", "details"],
            "nomic" => &["timestamp", "status", "error", "path"],
            "avenia" => &["error"],
            "aviate" => &["type", "title", "status", "detail", "instance"],
            "native" => &["type", "title", "status", "detail", "instance", "code", "request_id"],
            // The others have several shapes; `tests/clients` has their own clients read them.
            _ => continue,
        };
        let own = dialect.endpoints.iter().map(|endpoint| &endpoint.errors);
        for form in own.chain([&dialect.errors]) {
            for reason in Reason::ALL {
                let (status, body) = error(form, *reason);
                if dialect.name == "nomic" && status == 403 {
                    assert_eq!((body.as_str(), form.challenge(*reason)), ("", false));
                    continue;
                }
                let body: Value = serde_json::from_str(&body).expect("JSON");
                let names: Vec<_> = body.as_object().expect("an object").keys().collect();
                assert_eq!(names, members, "{} {reason:?}", dialect.name);
                assert_ne!((dialect.name.as_str(), status), ("nomic", 401), "{reason:?}");
            }
        }
    }
}

#[test]
fn answers_are_those_of_the_published_pages() {
    for (name, step, body) in [
        (
            "webitel",
            EndpointStep::Login,
            r#"{"key":"k1","username":"100@mydomain.com","expires":1600000,"token":"at","role":1}"#,
        ),
        ("webitel", EndpointStep::Logout, r#"{"status":"OK","info":"Successful logout."}"#),
        ("datarhei", EndpointStep::Login, r#"{"access_token":"at","refresh_token":"rt"}"#),
        ("datarhei", EndpointStep::Refresh, r#"{"access_token":"at"}"#),
        (
            "datarhei",
            EndpointStep::Answer,
            r#"{"app":"datarhei-core","auths":["localjwt"],"version":{"number":"16.0.0"}}"#,
        ),
        ("aviate", EndpointStep::Login, r#"{"token":"at"}"#),
        ("nomic", EndpointStep::Login, r#"{"isSuccess":true,"token":"at"}"#),
        ("avenia", EndpointStep::Login, "{}"),
        ("avenia", EndpointStep::VerifyCode, r#"{"accessToken":"at","refreshToken":"rt"}"#),
        ("avenia", EndpointStep::Refresh, r#"{"accessToken":"at","refreshToken":"rt"}"#),
        ("avenia", EndpointStep::Logout, "{}"),
        (
            "native",
            EndpointStep::Login,
            r#"{"access_token":"at","token_type":"Bearer","expires_in":600,"refresh_token":"rt"}"#,
        ),
        ("native", EndpointStep::LogoutAll, ""),
    ] {
        assert_eq!(answer(&Dialect::builtin(name).expect(name), step), body, "{name} {step:?}");
    }
}

#[test]
fn errors_are_those_of_the_published_pages() {
    let bad_caller = r#"{"status":"error","info":"Bad caller"}"#;
    let no_credentials =
        r#"{"code":400,"message":"Bad Request","details":["Missing authorization credentials"]}"#;
    let spring = r#"{"timestamp":"2023-02-24T21:19:15.137+00:00","status":500,"error":"Internal Server Error","path":"/p"}"#;
    let kill_bill = r#"{"type":"https://docs.killbill.io/errors/unauthorized","title":"Unauthorized","status":401,"detail":"Missing or invalid authentication credentials","instance":"/p"}"#;
    for (name, step, reason, status, body) in [
        (
            "webitel",
            EndpointStep::Login,
            Reason::UnknownUser,
            404,
            r#"{"status":"error","info":"User not found"}"#,
        ),
        (
            "webitel",
            EndpointStep::Login,
            Reason::MissingPassword,
            401,
            r#"{"status":"error","info":"Invalid credentials"}"#,
        ),
        ("webitel", EndpointStep::Logout, Reason::CredentialMissing, 401, bad_caller),
        ("webitel", EndpointStep::Logout, Reason::TokenRevoked, 401, bad_caller),
        (
            "webitel",
            EndpointStep::Logout,
            Reason::Unavailable,
            503,
            r#"{"status":"error","info":"Temporarily unavailable"}"#,
        ),
        ("datarhei", EndpointStep::Login, Reason::CredentialMissing, 400, no_credentials),
        ("datarhei", EndpointStep::Login, Reason::UnsupportedMediaType, 400, no_credentials),
        (
            "datarhei",
            EndpointStep::Refresh,
            Reason::TokenExpired,
            401,
            r#"{"code":401,"message":"Unauthorized","details":["Missing or invalid JWT token"]}"#,
        ),
        ("aviate", EndpointStep::Login, Reason::UnknownUser, 401, kill_bill),
        ("nomic", EndpointStep::Login, Reason::CredentialMissing, 403, ""),
        ("nomic", EndpointStep::Login, Reason::Internal, 500, spring),
        (
            "avenia",
            EndpointStep::Login,
            Reason::UnknownUser,
            401,
            r#"{"error":"Invalid email or password"}"#,
        ),
        (
            "avenia",
            EndpointStep::Refresh,
            Reason::CredentialMissing,
            400,
            r#"{"error":"refreshToken is required"}"#,
        ),
    ] {
        let dialect = Dialect::builtin(name).expect(name);
        let found = error(&endpoint(&dialect, step).errors, reason);
        assert_eq!(found, (status, body.to_owned()), "{name} {step:?} {reason:?}");
    }
}

#[test]
fn claims_are_those_of_the_original_tokens() {
    let claims = |name| {
        let dialect = Dialect::builtin(name).expect(name);
        let render = |template: &crate::Template| dialect.render(template, &facts());
        (render(&dialect.access_claims), render(&dialect.refresh_claims))
    };

    let (access, refresh) = claims("datarhei");
    assert_eq!(access, json!({"sub": "100@mydomain.com", "usefor": "access", "exi": 600}));
    assert_eq!(refresh, json!({"sub": "100@mydomain.com", "usefor": "refresh", "exi": 86_400}));
    let (access, refresh) = claims("aviate");
    assert_eq!(access["features"], "a,b");
    assert_eq!((&access["auth_time"], &access["token_use"]), (&json!(1000), &json!("id")));
    assert_eq!(refresh, json!({}));
}

#[test]
fn what_a_dialect_gives_out_is_known_beforehand() {
    let gives = |of: fn(&Dialect) -> bool| -> Vec<String> {
        dialects().filter(|dialect| of(dialect)).map(|dialect| dialect.name.clone()).collect()
    };

    assert_eq!(gives(|dialect| dialect.gives_key), ["webitel"]);
    assert_eq!(
        gives(|dialect| dialect.gives_refresh_token),
        ["datarhei", "avenia", "native", "oauth2_password", "simplejwt"]
    );
    assert_eq!(gives(|dialect| dialect.tells_unknown_user), ["webitel"]);
    assert_eq!(
        gives(|dialect| dialect.defaults.ends_with_access),
        [
            "webitel",
            "aviate",
            "django_token",
            "keystone",
            "mattermost",
            "proxmox",
            "qbittorrent",
            "redfish",
            "soap_login",
            "spring_form",
            "wordpress_jwt",
            "zabbix"
        ]
    );
}

#[test]
fn every_problem_of_a_dialect_is_reported_at_once() {
    let raw = toml::from_str(
        r#"
        name = "My Dialect"
        tokens = { algorithm = "none", access_ttl = "10 minutes" }
        claims = { access = { exp = 1, k = "$session.key" } }
        error = { token_expird = {}, account_disabled = {}, default = { status = 400 } }
        roles = { root = "0" }
        cors = { origins = ["https://App.example"], credentials = true }
        [[endpoint]]
        step = "login"
        request = "post //login"
        credential = [{ bearer = "refresh" }]
        rotates = true
        reply = { status = 199, json = { t = "$acess.token" } }
        error = { default = {} }
        "#,
    );

    let problems = Dialect::check(raw.expect("TOML")).expect_err("is full of problems");

    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    for path in [
        "name",
        "tokens.algorithm",
        "tokens.access_ttl",
        "claims.access.exp",
        "claims.access.k",
        "error.token_expird",
        "error.account_disabled",
        "error.default",
        "roles.root",
        "roles",
        "cors.origins[0]",
        "endpoint[0].request",
        "endpoint[0].credential[0]",
        "endpoint[0].rotates",
        "endpoint[0].reply.status",
        "endpoint[0].reply.json.t",
        "endpoint[0].error.default",
    ] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
}

#[test]
fn collisions_within_a_dialect_are_refused() {
    let twice = "[[endpoint]]\nstep = 'answer'\nrequest = 'GET /api'\nreply = {}\n".repeat(2);
    let raw = toml::from_str(&format!("name = 'x'\n{twice}")).expect("TOML");

    let problems = Dialect::check(raw).expect_err("collides");

    assert_eq!(problems[0].path, "endpoint[1].request");
}
