//! Examples of a dialect: requests, and the answers that they get.
//!
//! `[[example]]` tables stand in the file of a dialect, so that its reader sees the wire format
//! itself. They are run in order, as one story: a value of an answer that is written `$name` is
//! remembered, and stands in later requests where they have `$name`. Here they are read, filled in
//! and compared with answers; `tollhouse dialect test` sends them to a gateway.

mod answer;
mod http_text;
mod pattern;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::answer::{ExampleAnswer, ExampleReply};
pub use self::http_text::ExampleRequest;
pub use self::pattern::ExampleValues;
use crate::duration::check_duration;
use crate::problem::DialectProblems;

/// The value that every story knows from its start: a code of the user's authenticator app.
pub const USER_CODE: &str = "user.code";
/// Upper bound on repetitions. They exist to reach a limit of attempts, which takes a few.
const MOST_TIMES: u32 = 1000;

/// A request and the answer that it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// A few words on what it shows; `None` if the request says enough.
    pub name: Option<String>,
    /// In what state the gateway is when a new story begins with this example; `None` if the
    /// example continues the story before it.
    pub state: Option<ExampleState>,
    /// The user of the story. Invariant: only where a story begins.
    pub user: Option<ExampleUser>,
    /// How much time passes before the request.
    pub after: Option<Duration>,
    /// How often the request is sent. Each answer is compared.
    pub times: u32,
    pub request: ExampleRequest,
    pub reply: ExampleReply,
}

/// The state of a gateway in which a story begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExampleState {
    /// Everything works, and nobody has logged in.
    #[default]
    New,
    /// The source of users does not answer.
    UsersDown,
    /// The service behind the gateway does not answer.
    UpstreamDown,
}

/// The user of a story.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExampleUser {
    pub name: String,
    pub email: String,
    pub password: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Map<String, Value>,
    pub disabled: bool,
    /// The user has an authenticator app, whose codes are `$user.code`.
    pub totp: bool,
}

impl Default for ExampleUser {
    fn default() -> Self {
        Self {
            name: "alice".to_owned(),
            email: "alice@example.com".to_owned(),
            password: "correct horse battery".to_owned(),
            roles: vec!["admin".to_owned()],
            scopes: vec!["read".to_owned()],
            claims: Map::new(),
            disabled: false,
            totp: false,
        }
    }
}

/// An example as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawExample {
    name: Option<String>,
    state: Option<ExampleState>,
    user: Option<ExampleUser>,
    after: Option<String>,
    times: Option<u32>,
    request: String,
    reply: String,
}

/// Checks the examples of a dialect. Faulty ones are left out of the result.
pub(crate) fn check_examples(raw: &[RawExample], problems: &mut DialectProblems) -> Vec<Example> {
    // The names that requests of the running story may have.
    let mut known = BTreeSet::new();
    let mut examples = Vec::with_capacity(raw.len());
    for (number, raw) in raw.iter().enumerate() {
        let at = format!("example[{number}]");
        if number == 0 || raw.state.is_some() {
            known = BTreeSet::from([USER_CODE.to_owned()]);
        } else if raw.user.is_some() {
            let message = "is for the first example of a story: give this one a `state`, with \
                           which another story begins";
            problems.add(format!("{at}.user"), "", message);
        }
        examples.extend(check_example(raw, &at, &mut known, problems));
    }
    examples
}

fn check_example(
    raw: &RawExample,
    at: &str,
    known: &mut BTreeSet<String>,
    problems: &mut DialectProblems,
) -> Option<Example> {
    let mut refuse = |key: &str, value: String, message: String| {
        problems.add(format!("{at}.{key}"), value, message);
    };
    let request = ExampleRequest::parse(&raw.request);
    let request = request.map_err(|message| refuse("request", String::new(), message)).ok();
    for name in request.iter().flat_map(ExampleRequest::names) {
        if !known.contains(name) {
            let message = format!("has `${name}`, which no reply before it in this story has");
            refuse("request", String::new(), message);
        }
    }
    let reply = ExampleReply::parse(&raw.reply);
    let reply = reply.map_err(|message| refuse("reply", String::new(), message)).ok();
    known.extend(reply.iter().flat_map(ExampleReply::names).map(str::to_owned));
    let times = raw.times.unwrap_or(1);
    if !(1..=MOST_TIMES).contains(&times) {
        refuse("times", times.to_string(), format!("must be from 1 to {MOST_TIMES}"));
    }
    let after = raw.after.as_ref();
    let after = after.and_then(|text| check_duration(text, &format!("{at}.after"), problems));
    Some(Example {
        name: raw.name.clone(),
        state: raw.state,
        user: raw.user.clone(),
        after,
        times,
        request: request?,
        reply: reply?,
    })
}

#[cfg(test)]
mod tests;
