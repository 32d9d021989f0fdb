mod places;
mod programs;
mod replies;

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::{EndpointStep, RawDialect};

/// Header lines, one per line, as on the wire.
fn head(lines: &str) -> Parts {
    let mut request = Request::builder();
    for line in lines.lines() {
        let (name, value) = line.split_once(": ").expect("a header line");
        request = request.header(name, value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn read_at(
    dialect: &str,
    step: EndpointStep,
    lines: &str,
    body: &[u8],
) -> Result<PresentedCredential, Reason> {
    let dialect = Dialect::builtin(dialect).expect("built in");
    let endpoint = dialect.endpoints.iter().find(|endpoint| endpoint.step == step).expect("step");
    read(endpoint, &head(lines), &[], body)
}

fn password(name: &str, password: &str) -> Result<PresentedCredential, Reason> {
    Ok(PresentedCredential::Password {
        name: name.to_owned(),
        password: password.into(),
        code: None,
    })
}

fn token(token: &str, purpose: TokenUse) -> Result<PresentedCredential, Reason> {
    Ok(PresentedCredential::Token { token: token.into(), purpose })
}

const JSON: &str = "Content-Type: application/json";

#[test]
fn json_logins_are_read_whatever_their_spelling() {
    let body = r#"{"username":"u","password":"p"}"#;
    let escaped = r#"{"user\u006eame":"u","password":"p"}"#;
    let more = r#"{"x":[{"y":null}],"username":"u","password":"p"}"#;
    for (lines, body, why) in [
        (JSON, body, "the plain case"),
        ("", body, "no type is JSON"),
        ("Content-Type: Application/JSON; charset=utf-8", body, "types have no case"),
        ("Content-Type: application/vnd.x+json", body, "a JSON type of its own"),
        (JSON, more, "other members are ignored"),
        (JSON, escaped, "escapes are only a spelling"),
        ("Authorization: Bearer x", body, "no carrier of this endpoint"),
        ("Authorization: a\nAuthorization: b", body, "nor when there are two"),
    ] {
        let read = read_at("webitel", EndpointStep::Login, lines, body.as_bytes());
        assert_eq!(read, password("u", "p"), "{lines} {body}: {why}");
    }
}

#[test]
fn json_logins_that_lack_something_say_what() {
    for (body, reason, why) in [
        ("", Reason::MissingUsername, "an empty body is not malformed"),
        ("{}", Reason::MissingUsername, "no members"),
        (r#"{"username":null,"password":"p"}"#, Reason::MissingUsername, "null is missing"),
        (r#"{"username":"","password":"p"}"#, Reason::MissingUsername, "empty is missing"),
        (r#"{"username":"u"}"#, Reason::MissingPassword, "no password"),
        (r#"{"username":"u","password":""}"#, Reason::MissingPassword, "never tried if empty"),
    ] {
        let read = read_at("webitel", EndpointStep::Login, JSON, body.as_bytes());
        assert_eq!(read, Err(reason), "{body}: {why}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded";
    let read = read_at("webitel", EndpointStep::Login, form, b"");
    assert_eq!(read, Err(Reason::MissingUsername), "an empty form is an empty body");
}

#[test]
fn json_logins_that_can_be_read_in_two_ways_are_refused() {
    for (body, why) in [
        (r#"{"username":5,"password":"p"}"#, "a number is no name"),
        (r#"{"username":"u","password":["p"]}"#, "a list is no password"),
        (r#"{"username":"u","username":"v","password":"p"}"#, "which of the two?"),
        (r#"{"username":"u","user\u006eame":"v","password":"p"}"#, "twice in disguise"),
        (r#"{"username":"u","password":"p","x":{"a":1,"a":2}}"#, "twice further down"),
        (r#"{"username":"u","password":"p"} x"#, "something after it"),
        (r#"{"username":"u","password":"p""#, "cut off"),
        (r#"["u","p"]"#, "no object"),
        (r#"{"username":"\ud800","password":"p"}"#, "half a character"),
    ] {
        let read = read_at("webitel", EndpointStep::Login, JSON, body.as_bytes());
        assert_eq!(read, Err(Reason::MalformedRequest), "{body}: {why}");
    }
    for (lines, why) in [
        ("Content-Type: text/plain", "another type"),
        ("Content-Type: application/+json", "no type at all"),
        ("Content-Type: application/json\nContent-Type: text/plain", "two types"),
    ] {
        let read =
            read_at("webitel", EndpointStep::Login, lines, br#"{"username":"u","password":"p"}"#);
        assert_eq!(read, Err(Reason::UnsupportedMediaType), "{lines}: {why}");
    }
}

#[test]
fn nesting_is_bounded() {
    for (depth, is_read) in [(10, true), (100, false), (100_000, false)] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"username":"u","password":"p","x":{nested}}}"#);
        let read = read_at("webitel", EndpointStep::Login, JSON, body.as_bytes());

        assert_eq!(read.is_ok(), is_read, "{depth} deep");
    }
    let read = read_at("webitel", EndpointStep::Login, JSON, b"{\"username\":\"\xff\"}");
    assert_eq!(read, Err(Reason::MalformedRequest), "not UTF-8");
}

#[test]
fn authorization_is_read_in_one_way() {
    let wrong = Err(Reason::InvalidCredentials);
    for (lines, read, why) in [
        ("Authorization: Basic dTpw", password("u", "p"), "the plain case"),
        ("Authorization: bAsIc dTpw", password("u", "p"), "schemes have no case"),
        ("Authorization: Basic dTpwOnE=", password("u", "p:q"), "split at the first colon"),
        ("Authorization: Basic  dTpw", wrong.clone(), "two spaces"),
        ("Authorization: Basic dTpwOnE", wrong.clone(), "padding is required"),
        ("Authorization: Basic dTp_", wrong.clone(), "not the standard alphabet"),
        ("Authorization: Basic dXA=", wrong.clone(), "no colon"),
        ("Authorization: Basic Onh4", wrong.clone(), "no name"),
        ("Authorization: Basic dTo=", wrong.clone(), "no password"),
        ("Authorization: Basic dTr/", wrong.clone(), "not UTF-8"),
        ("Authorization: Basic dTpwAA==", wrong.clone(), "a control character"),
        ("Authorization: Basic dTpw, Bearer x", wrong.clone(), "two in one line"),
        ("Authorization: Basic", wrong, "nothing after the scheme"),
        (
            "Authorization: Bearer a.b-c_~+/==",
            token("a.b-c_~+/==", TokenUse::Renew),
            "the other form",
        ),
        ("Authorization: BEARER x", token("x", TokenUse::Renew), "schemes have no case"),
        ("Authorization: Bearer", Err(Reason::TokenInvalid), "no token"),
        ("Authorization: Bearer  x", Err(Reason::TokenInvalid), "two spaces"),
        ("Authorization: Bearer x=y", Err(Reason::TokenInvalid), "padding in the middle"),
        ("Authorization: Bearer x, Bearer y", Err(Reason::TokenInvalid), "two tokens"),
        ("Authorization: Digest x", Err(Reason::CredentialMissing), "no scheme of this endpoint"),
        (
            "X-Access-Token: x\nX-Key: y",
            Err(Reason::CredentialMissing),
            "no carrier of this endpoint",
        ),
        ("", Err(Reason::CredentialMissing), "nothing"),
        (
            "Authorization: Basic dTpw\nAuthorization: Bearer x",
            Err(Reason::AmbiguousCredential),
            "two lines",
        ),
    ] {
        assert_eq!(read_at("nomic", EndpointStep::Login, lines, b"\xff{"), read, "{lines}: {why}");
    }
}

#[test]
fn a_body_outranks_a_bearer_and_an_empty_one_leaves_it_to_the_bearer() {
    let bearer = "Content-Type: application/json\nAuthorization: Bearer x";
    for (lines, body, read, why) in [
        (bearer, r#"{"username":"u","password":"p"}"#, password("u", "p"), "the body counts"),
        (bearer, "", token("x", TokenUse::Exchange), "no body"),
        (
            bearer,
            r#"{"username":"","password":""}"#,
            token("x", TokenUse::Exchange),
            "an empty one",
        ),
        (bearer, r#"{"username":"u"}"#, Err(Reason::MissingPassword), "half a body is not empty"),
        (bearer, "nonsense", Err(Reason::MalformedRequest), "nor is nonsense"),
        (
            JSON,
            r#"{"username":"","password":""}"#,
            Err(Reason::CredentialMissing),
            "nothing at all",
        ),
    ] {
        assert_eq!(
            read_at("datarhei", EndpointStep::Login, lines, body.as_bytes()),
            read,
            "{body}: {why}"
        );
    }
}

#[test]
fn pairs_codes_and_refresh_tokens_are_read() {
    let pair = PresentedCredential::Pair { token: "t".into(), key: "k".into(), fact: None };
    for (lines, read, why) in [
        ("x-access-token: t\nX-KEY: k", Ok(pair), "names have no case"),
        ("X-Access-Token: t", Err(Reason::TokenInvalid), "half a pair"),
        ("X-Key: k", Err(Reason::TokenInvalid), "the other half"),
        (
            "X-Access-Token: t\nX-Access-Token: t\nX-Key: k",
            Err(Reason::AmbiguousCredential),
            "twice",
        ),
        ("Authorization: Bearer t", Err(Reason::CredentialMissing), "no carrier of this endpoint"),
    ] {
        assert_eq!(read_at("webitel", EndpointStep::Logout, lines, b""), read, "{lines}: {why}");
    }
    let code =
        PresentedCredential::Code { name: "a@b".to_owned(), code: "004711".into(), ticket: None };
    for (body, read, why) in [
        (r#"{"email":"a@b","emailToken":"004711"}"#, Ok(code), "zeros in front are kept"),
        (
            r#"{"email":"a@b","emailToken":4711}"#,
            Err(Reason::MalformedRequest),
            "a number has none",
        ),
        (r#"{"email":"a@b"}"#, Err(Reason::CodeRequired), "no code"),
        ("", Err(Reason::MissingUsername), "nothing"),
    ] {
        let read_here = read_at("avenia", EndpointStep::VerifyCode, "", body.as_bytes());
        assert_eq!(read_here, read, "{body}: {why}");
    }
    let refresh = read_at("avenia", EndpointStep::Refresh, "", br#"{"refreshToken":"r"}"#);
    assert_eq!(refresh, token("r", TokenUse::Refresh));
    let nothing = read_at("avenia", EndpointStep::Refresh, "Authorization: Bearer r", b"{}");
    assert_eq!(nothing, Err(Reason::CredentialMissing), "a Bearer is no carrier of this endpoint");
}

#[test]
fn forms_in_the_body_come_first_however_they_are_listed() {
    let raw: RawDialect = toml::from_str(
        "name = 'x'\n[[endpoint]]\nstep = 'login'\nrequest = 'POST /l'\nreply = {}\n\
         credential = [{ bearer = 'renew' }, { json = { username = 'u', password = 'p' } }]",
    )
    .expect("TOML");
    let dialect = Dialect::check(raw).expect("no problems");

    let read =
        read(&dialect.endpoints[0], &head("Authorization: Bearer x"), &[], br#"{"u":"a","p":"b"}"#);

    assert_eq!(read, password("a", "b"));
}

proptest! {
    /// Whatever arrives is either read or refused; a name or secret that was read is never empty.
    #[test]
    fn anything_may_arrive(
        bytes in prop_oneof![
            any::<Vec<u8>>(),
            "[\\[\\]{}\":,a\\\\u0-9]{0,60}".prop_map(String::into_bytes),
            "\\{\"(username|email|refreshToken)\":\"?.{0,9}\"?,\"(password|emailToken)\":\".{0,9}\"\\}"
                .prop_map(String::into_bytes),
        ],
        authorization in "(Basic |Bearer |basic  )?[ -~]{0,24}",
        is_typed in any::<bool>(),
    ) {
        let mut request = Request::builder().header("Authorization", authorization.as_str());
        if is_typed {
            request = request.header("Content-Type", "application/json");
        }
        let head = request.body(()).expect("printable ASCII is a header value").into_parts().0;
        for name in Dialect::builtin_names() {
            let dialect = Dialect::builtin(name).expect("built in");
            for endpoint in &dialect.endpoints {
                match read(endpoint, &head, &[], &bytes) {
                    Ok(PresentedCredential::Password { name, password: secret, .. })
                    | Ok(PresentedCredential::Code { name, code: secret, .. }) => {
                        prop_assert!(!name.is_empty() && !secret.expose().is_empty());
                    }
                    Ok(
                        PresentedCredential::Token { token, .. }
                        | PresentedCredential::Pair { token, .. }
                        | PresentedCredential::InspectedToken { token },
                    ) => {
                        prop_assert!(!token.expose().is_empty());
                    }
                    Err(reason) => prop_assert!(reason.status().is_client_error()),
                }
            }
        }
    }
}
