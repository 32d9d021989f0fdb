//! `[call]`: how the clients of a dialect carry the access token on every request that is no
//! endpoint's.
//!
//! Only the head of a request can have it. A body belongs to the upstream and is not read here, and
//! the variables of a path are known for endpoints alone. `check` calls this file; a route that takes
//! `login` reads tokens by its result.

use http::header::HeaderName;
use serde::Deserialize;

use super::carrier::{Carrier, PairCarrier, RawTokenCarrier};
use super::problem::DialectProblems;

/// The table as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCalls {
    carriers: Option<Vec<RawTokenCarrier>>,
    csrf: RawDefence,
}

/// `csrf`: a rule, or a table with the field of the session's own value.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum RawDefence {
    Rule(ForgeryRule),
    Field(RawForgeryField),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawForgeryField {
    field: String,
    #[serde(default)]
    rule: ForgeryRule,
}

impl Default for RawDefence {
    fn default() -> Self {
        Self::Rule(ForgeryRule::default())
    }
}

/// `[call]`, checked.
pub(crate) struct CheckedCalls {
    pub(crate) carriers: Vec<CallCarrier>,
    pub(crate) defence: ForgeryDefence,
}

/// How the access token comes with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallCarrier {
    Token(Carrier),
    /// The token in one place, and the key of its session, or a fact about it, in another.
    Pair(PairCarrier),
}

/// How requests with a cookie are told from forged ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgeryDefence {
    pub rule: ForgeryRule,
    /// The field in which a request repeats `$session.csrf`; `None` where none is demanded.
    pub field: Option<HeaderName>,
}

/// Which requests with a cookie count as forged. A browser adds cookies by itself, also to a request
/// that another site makes it send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeryRule {
    /// Those of which a browser says that another site sent them. A request without any of the
    /// fields in which browsers say it comes from a program, which has no visitors.
    #[default]
    Browsers,
    /// Also those without any of these fields.
    Strict,
}

impl CallCarrier {
    /// The place of the token, then that of the key.
    pub fn places(&self) -> Vec<&Carrier> {
        match self {
            Self::Token(token) => vec![token],
            Self::Pair(pair) => vec![&pair.token, &pair.key],
        }
    }

    /// The places on calls for a dialect without `[call]`: a Bearer token, and the pair X-Access-Token and
    /// X-Key where logins give a key.
    fn usual(gives_key: bool) -> Vec<Self> {
        let pair = gives_key.then(Self::usual_pair);
        [Self::Token(Carrier::bearer())].into_iter().chain(pair).collect()
    }

    /// The pair of `X-Access-Token` and `X-Key`.
    pub fn usual_pair() -> Self {
        Self::Pair(PairCarrier::token_key())
    }

    /// The same place in one spelling. Schemes are compared without regard to case (RFC 9110,
    /// section 11.1).
    #[must_use]
    pub fn folded(&self) -> Self {
        match self {
            Self::Token(token) => Self::Token(token.folded()),
            Self::Pair(pair) => Self::Pair(PairCarrier {
                token: pair.token.folded(),
                key: pair.key.folded(),
                fact: pair.fact,
            }),
        }
    }
}

impl RawCalls {
    /// Checks the table. `gives_key` and `gives_csrf` are true if an answer of the dialect gives the
    /// key of the session, or its value against forged requests.
    pub(super) fn check(
        self,
        gives_key: bool,
        gives_csrf: bool,
        problems: &mut DialectProblems,
    ) -> CheckedCalls {
        let defence = self.csrf.check(gives_csrf, problems);
        let carriers = match self.carriers {
            Some(raw) => check_carriers(raw, gives_key, problems),
            None => CallCarrier::usual(gives_key),
        };
        CheckedCalls { carriers, defence }
    }
}

impl RawDefence {
    fn check(self, gives_csrf: bool, problems: &mut DialectProblems) -> ForgeryDefence {
        let RawForgeryField { field, rule } = match self {
            Self::Rule(rule) => return ForgeryDefence { rule, field: None },
            Self::Field(field) => field,
        };
        let name = match Carrier::field(&field) {
            Ok(Carrier::Field(name)) => Some(name),
            Ok(_) => None,
            Err(message) => {
                problems.add("call.csrf.field", &field, message);
                None
            }
        };
        if !gives_csrf {
            let message = "is demanded, but no reply has `$session.csrf`: nobody has the value";
            problems.add("call.csrf.field", &field, message);
        }
        ForgeryDefence { rule, field: name }
    }
}

fn check_carriers(
    raw: Vec<RawTokenCarrier>,
    gives_key: bool,
    problems: &mut DialectProblems,
) -> Vec<CallCarrier> {
    if raw.is_empty() {
        problems.add("call.carriers", "", "is empty: name where the access token is");
    }
    let mut carriers: Vec<CallCarrier> = Vec::with_capacity(raw.len());
    for (number, raw) in raw.into_iter().enumerate() {
        let at = format!("call.carriers[{number}]");
        let carrier = match raw {
            RawTokenCarrier::Single(raw) => raw.check(&at, problems).map(CallCarrier::Token),
            RawTokenCarrier::Pair { pair } => pair.check(&at, problems).map(CallCarrier::Pair),
        };
        let Some(carrier) = carrier else { continue };
        let before = problems.len();
        for place in carrier.places() {
            check_place(place, &at, problems);
        }
        if let [token, key] = carrier.places()[..]
            && token == key
        {
            problems.add(&at, token, "has token and key in one place");
        }
        let is_secret = matches!(&carrier, CallCarrier::Pair(pair) if pair.fact.is_none());
        if is_secret && !gives_key {
            let message = "is a pair, but no reply has `$session.key`: nobody has the key";
            problems.add(&at, "", message);
        }
        if carriers.contains(&carrier) {
            problems.add(&at, "", "stands here twice");
        }
        if problems.len() == before {
            carriers.push(carrier);
        }
    }
    carriers
}

fn check_place(place: &Carrier, at: &str, problems: &mut DialectProblems) {
    let message = match place {
        Carrier::Member(..) => {
            "is in a body, which goes to the upstream unread: a call has its token in the head"
        }
        Carrier::Variable(_) => {
            "is a variable of a path, which only endpoints have: a call has its token in a field, a \
             cookie or the query"
        }
        Carrier::Field(name) if is_told(&folded(name)) => {
            "is a field in which the gateway or a proxy tells upstreams something: no client may \
             send it"
        }
        Carrier::Field(name) if is_spoken_by_others(&folded(name)) => {
            "is a field that other clients send for its own purpose"
        }
        _ => return,
    };
    problems.add(at, place, message);
}

/// The name as the most lenient server reads it: with a dash for every mark (CGI reads `X_Token` as
/// `X-Token`).
fn folded(name: &HeaderName) -> String {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' };
    name.as_str().bytes().map(fold).collect()
}

/// True for the fields by which upstreams trust the gateway.
fn is_told(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "forwarded",
        "proxy",
        "via",
        "x-auth-roles",
        "x-auth-scopes",
        "x-auth-session",
        "x-auth-source",
        "x-auth-subject",
        "x-auth-username",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-host",
        "x-original-url",
        "x-real-ip",
        "x-request-id",
        "x-rewrite-url",
    ];
    NAMES.contains(&name) || name.starts_with("x-forwarded-") || name.starts_with("proxy-")
}

/// True for fields that browsers, programs and protocols use for something else.
fn is_spoken_by_others(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "cache-control",
        "connection",
        "cookie",
        "date",
        "host",
        "max-forwards",
        "origin",
        "pragma",
        "range",
        "referer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
    ];
    const PREFIXES: &[&str] =
        &["accept", "access-control-", "content-", "if-", "sec-", "user-agent"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{CallCarrier, Dialect, RawDialect};

    /// A dialect with this `[call]`, whose login gives a key.
    fn check(call: Value) -> Result<Dialect, Vec<String>> {
        let dialect = json!({
            "name": "own",
            "call": call,
            "endpoint": [{
                "step": "login",
                "request": "POST /login",
                "credential": [{ "basic": {} }],
                "reply": { "json": { "token": "$access.token", "key": "$session.key", "csrf": "$session.csrf" } },
            }],
        });
        let raw: RawDialect = serde_json::from_value(dialect).unwrap();
        Dialect::check(raw).map_err(|problems| {
            let text = |one: crate::DialectProblem| format!("{} {}", one.path, one.message);
            problems.into_iter().map(text).collect()
        })
    }

    #[test]
    fn a_dialect_that_says_nothing_has_what_is_usual() {
        let calls = check(json!({})).unwrap().call;
        let places: Vec<String> =
            calls.iter().flat_map(CallCarrier::places).map(ToString::to_string).collect();
        let expected =
            ["{ scheme = \"Bearer\" }", "{ field = \"x-access-token\" }", "{ field = \"x-key\" }"];
        assert_eq!(places, expected);
    }

    #[test]
    fn only_the_head_of_a_call_has_a_token_and_each_carrier_stands_once() {
        for (carriers, expected) in [
            (json!([]), "is empty"),
            (json!([{ "json": "token" }]), "is in a body"),
            (json!([{ "path": "token" }]), "is a variable of a path"),
            (json!([{ "field": "X-Auth-Subject" }]), "tells upstreams"),
            (json!([{ "field": "X-Forwarded-Token" }]), "tells upstreams"),
            (json!([{ "field": "x_auth.subject" }]), "tells upstreams"),
            (json!([{ "field": "Content_Length" }]), "for its own purpose"),
            (json!([{ "field": "Accept" }]), "for its own purpose"),
            (json!([{ "field": "Cookie" }]), "carries nothing else"),
            (json!([{ "scheme": "Basic" }]), "Basic has names and passwords"),
            (json!([{ "cookie": "SID" }, { "cookie": "SID" }]), "stands here twice"),
            (
                json!([{ "pair": { "token": { "cookie": "A" }, "key": { "cookie": "A" } } }]),
                "in one place",
            ),
            (
                json!([{ "pair": { "token": { "json": "A" }, "key": { "cookie": "A" } } }]),
                "is in a body",
            ),
        ] {
            let problems = check(json!({ "carriers": carriers })).unwrap_err();
            assert!(problems.iter().any(|one| one.contains(expected)), "{expected}: {problems:?}");
            assert!(problems.iter().all(|one| one.starts_with("call.carriers")), "{problems:?}");
        }
        let carriers = json!([
            { "field": "X-Auth-Token" },
            { "scheme": "" },
            { "pair": { "token": { "cookie": "A" }, "key": { "field": "X-CSRF" } } },
        ]);
        assert_eq!(check(json!({ "carriers": carriers, "csrf": "strict" })).unwrap().call.len(), 3);
    }

    #[test]
    fn a_key_may_be_a_fact_and_a_value_against_forgery_a_field() {
        let pair = |more: Value| {
            let mut pair = json!({ "token": { "field": "X-A" }, "key": { "field": "X-B" } });
            pair.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "carriers": [{ "pair": pair }] })
        };
        let calls = check(pair(json!({ "key_is": "$user.id" }))).unwrap().call;
        let CallCarrier::Pair(found) = &calls[0] else { panic!("a pair") };
        assert_eq!(found.fact, Some(crate::SessionFact::UserId));
        let problems = check(pair(json!({ "key_is": "$user.email" }))).unwrap_err();
        assert!(problems[0].contains("key_is must be one of $user.id"), "{problems:?}");

        let csrf = check(json!({ "csrf": { "field": "X-CSRF", "rule": "strict" } })).unwrap().csrf;
        assert_eq!(csrf.field.unwrap(), "x-csrf");
        assert_eq!(csrf.rule, crate::ForgeryRule::Strict);
        let problems = check(json!({ "csrf": { "field": "Cookie" } })).unwrap_err();
        assert!(problems[0].starts_with("call.csrf.field must be"), "{problems:?}");
    }

    #[test]
    fn what_nobody_is_given_is_not_demanded() {
        let dialect = json!({
            "name": "own",
            "call": { "csrf": { "field": "X-CSRF" } },
            "endpoint": [{
                "step": "login",
                "request": "POST /login",
                "credential": [{ "basic": {} }],
                "reply": { "json": { "token": "$access.token" } },
            }],
        });
        let raw: RawDialect = serde_json::from_value(dialect).unwrap();
        let problems = Dialect::check(raw).unwrap_err();
        assert!(problems[0].message.contains("no reply has `$session.csrf`"), "{problems:?}");
    }
}
