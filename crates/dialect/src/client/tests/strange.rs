//! Answers that differ from what the system's documentation says, and what the gateway may make of
//! them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderMap;
use proptest::prelude::*;
use serde_json::json;

use super::{ENDS, NOW, accepted, dialect, jwt, label, say};
use crate::client::{LONGEST_ANSWER, LoginOutcome, ReceivedAnswer, ResponseValues, parse_response};
use crate::{Dialect, EndpointStep};

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
        let found = say(&dialect, EndpointStep::Login, status, &body);
        assert_eq!(label(&found), heard, "{name}, {why}: {found:?}");
    }
    let webitel = dialect("webitel");
    let body = format!(r#"{{"key":"k","token":"{token}","expires":1800003600000.5,"role":"0"}}"#);
    let heard = accepted(say(&webitel, EndpointStep::Login, 200, &body));
    assert_eq!((heard.expires, heard.roles), (Some(ENDS), Some(vec!["root".to_owned()])));
    let strange =
        accepted(say(&webitel, EndpointStep::Login, 200, r#"{"key":"k","token":"t","role":9}"#));
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
        let heard = say(&dialect, EndpointStep::Login, status, body);
        assert_eq!(label(&heard), "nonsense", "{name} {status}: {why}: {heard:?}");
    }
    assert_eq!(label(&say(&dialect("native"), EndpointStep::Login, 429, "<html>")), "throttled");
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
        let heard = accepted(say(&aviate, EndpointStep::Login, 200, &body));
        assert_eq!(heard.email.as_deref(), email, "{claims}");
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"email":"a@b","email":"c@d"}"#);
    let body = format!(r#"{{"token":"e30.{twice}.c2ln"}}"#);
    assert!(accepted(say(&aviate, EndpointStep::Login, 200, &body)).token.is_empty());
    let ttl = ResponseValues { ttl: Some(Duration::from_secs(60)), ..ResponseValues::default() };
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
                let headers = HeaderMap::new();
                let answer = ReceivedAnswer { status, headers: &headers, body: &body };
                match parse_response(&dialect, endpoint, &answer) {
                    LoginOutcome::Accepted(facts) => {
                        prop_assert_eq!(endpoint.reply.status.as_u16(), status);
                        let is_login = endpoint.step == EndpointStep::Login;
                        prop_assert!(!is_login || facts.access_token.is_some());
                    }
                    LoginOutcome::Refused(reason) => {
                        prop_assert_eq!(endpoint.errors.status(reason).as_u16(), status);
                    }
                    LoginOutcome::Pending(_) | LoginOutcome::Throttled | LoginOutcome::Unexpected(_) => {}
                }
            }
        }
    }
}
