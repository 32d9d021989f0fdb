//! The keys that a dialect may have, with the types of their values and their meaning.
//!
//! `dialect_shape` checks a `[[dialect]]` by this table, and the schema of a dialect is made from
//! it. The library `crate::dialect` knows the meaning of the values in full; a test there and here
//! compares the keys of both.

use std::time::Duration;

use super::item::choice_of;
use super::key_shape::{FREE_TABLE, KeyShape, STATUS, TEXTS, ValueShape, may, must};
use super::schema::{KeyGroup, KeySchema, TableSchema, TextForm, ValueSchema};

pub(super) const DIALECT: &[KeyShape] = &[
    must("name", ValueShape::Text, "The name by which logins and routes refer to the dialect."),
    may("endpoint", ValueShape::Endpoints, "What clients call, each with a method and a path."),
    may(
        "error",
        ERRORS,
        "Refusals. A key is the code of a reason, a status, or `default`; an entry changes only \
         what it names.",
    ),
    may("claims", ValueShape::Keys(CLAIMS), "Further claims of the tokens."),
    may("tokens", ValueShape::Keys(TOKENS), "Habits of the dialect's tokens."),
    may(
        "roles",
        FREE_TABLE,
        "Roles and their numbers, in order: the first role that a user has decides. `*` is for all \
         other users.",
    ),
    may("config", FREE_TABLE, "Values of `$config.NAME` for logins that have none of their own."),
    may("cors", ValueShape::Keys(CORS), "Cross-origin requests to the endpoints."),
    may(
        "call",
        ValueShape::Keys(CALL),
        "How clients carry the access token on all other requests; for routes with `auth = \
         [\"login\"]`.",
    ),
    may(
        "example",
        ValueShape::List(&ValueShape::Keys(EXAMPLE)),
        "Requests, and the answers that they get: `tollhouse dialect test` runs them.",
    ),
];

const EXAMPLE: &[KeyShape] = &[
    may("name", ValueShape::Text, "What it shows, in a few words."),
    may(
        "state",
        ValueShape::Choice(&["new", "users_down", "upstream_down"]),
        "Begins another story, in a gateway of its own: `new`, or one that cannot reach its users, \
         or the upstream.",
    ),
    may("user", ValueShape::Keys(EXAMPLE_USER), "The user of the story; alice, by default."),
    may("after", ValueShape::Duration, "How much time passes before the request."),
    may("times", ValueShape::Number(1, 1000), "How often the request is sent; once by default."),
    must(
        "request",
        ValueShape::Text,
        "Method and path, fields, an empty line and the body; `$NAME` is a value of a reply before \
         it, and `$user.code` a code of the user's authenticator app.",
    ),
    must(
        "reply",
        ValueShape::Text,
        "The status, fields that the answer has among others, an empty line and the body; `$NAME` \
         stands for any value.",
    ),
];

const EXAMPLE_USER: &[KeyShape] = &[
    may("name", ValueShape::Text, "The name; `alice` by default."),
    may("email", ValueShape::Text, "The address; `alice@example.com` by default."),
    may("password", ValueShape::Text, "The password; `correct horse battery` by default."),
    may("roles", TEXTS, "The roles; `admin` by default."),
    may("scopes", TEXTS, "The scopes; `read` by default."),
    may("claims", FREE_TABLE, "Further claims."),
    may("disabled", ValueShape::Flag, "Whether the user is disabled."),
    may("totp", ValueShape::Flag, "Whether the user has an authenticator app."),
];

const CALL: &[KeyShape] = &[
    may(
        "carriers",
        ValueShape::List(&ValueShape::OneOf(TOKEN_CARRIER)),
        "The places of the access token; by default Authorization: Bearer, and X-Access-Token with \
         X-Key where a login gives a key.",
    ),
    may(
        "csrf",
        ValueShape::ChoiceOr(FORGERY_RULES, CSRF),
        "Which requests with a cookie are refused as forged: those that a browser says another site \
         sent (by default), or also those of which nothing says where they come from. A table \
         demands `$session.csrf` besides.",
    ),
];

const FORGERY_RULES: &[&str] = &["browsers", "strict"];

const CSRF: &[KeyShape] = &[
    must("field", ValueShape::Text, "The header field in which requests repeat `$session.csrf`."),
    may("rule", ValueShape::Choice(FORGERY_RULES), "As without the table; by default `browsers`."),
];

pub(super) const ENDPOINT: &[KeyShape] = &[
    must("step", ValueShape::Choice(STEPS), "What the endpoint does."),
    must("request", ValueShape::Text, "Method and path: `POST /login`."),
    may(
        "when",
        ValueShape::Choice(&["unauthenticated"]),
        "Only for requests without a good token; all others go to a route of the same path.",
    ),
    may(
        "where",
        ValueShape::Keys(CONDITIONS),
        "Tells this endpoint from others of the same method and path: values that the request has.",
    ),
    may(
        "otherwise",
        ValueShape::Choice(&["route"]),
        "`route`: what no `where` of this path takes goes to the routes, its body whole.",
    ),
    may(
        "credential",
        ValueShape::List(&ValueShape::Keys(CREDENTIAL)),
        "Where the credential is in the request. The first form that is there counts.",
    ),
    may(
        "client",
        ValueShape::Keys(PROGRAM),
        "Where the calling program presents itself beside the user; for logins with `clients`.",
    ),
    may(
        "require",
        ValueShape::Keys(CONDITIONS),
        "Values that the request must have; without them it is malformed.",
    ),
    may(
        "send",
        ValueShape::Keys(SENT),
        "What a client sends besides its credential, where the gateway asks another system.",
    ),
    may(
        "media_types",
        TEXTS,
        "Media types of JSON bodies, beside application/json and those that end in +json.",
    ),
    may(
        "account",
        ValueShape::Choices(&["username", "email"]),
        "What a user is looked up by; by default the name. Of several the first by which a user is \
         found counts.",
    ),
    may(
        "second_step",
        ValueShape::Choice(&["none", "mail"]),
        "What the login demands after the password; by default nothing.",
    ),
    may("rotates", ValueShape::Flag, "Whether a refresh replaces the refresh token."),
    may("reply", ValueShape::Keys(REPLY), "The answer to a request that succeeds."),
    may("pending_reply", ValueShape::Keys(REPLY), "The answer that demands the second step."),
    may("error", ERRORS, "Refusals of this endpoint, over those of the dialect."),
];

const STEPS: &[&str] = &[
    "login",
    "verify_code",
    "refresh",
    "logout",
    "logout_all",
    "session",
    "introspect",
    "revoke",
    "answer",
];

const CREDENTIAL: &[KeyShape] = &[
    may("json", ValueShape::Keys(PARTS), "Name and password, or code, in a JSON body."),
    may(
        "form",
        ValueShape::TextOr(PARTS),
        "Name and password, or code, in a form; or the parameter with the token in question.",
    ),
    may("multipart", ValueShape::Keys(PARTS), "Name and password, or code, in a multipart form."),
    may("xml", ValueShape::Keys(PARTS), "Name and password, or code, in an XML body."),
    may("fields", ValueShape::Keys(PARTS), "Name and password, or code, in header fields."),
    may("query", ValueShape::Keys(PARTS), "Name and password, or code, in the query."),
    may("path", ValueShape::Keys(PARTS), "A part of the credential in a variable of the path."),
    may("basic", ValueShape::Keys(&[]), "Name and password by HTTP Basic."),
    may("json_code", ValueShape::Keys(PARTS), "Name and code are members of a JSON body."),
    may("json_refresh", ValueShape::Member, "The member with the refresh token."),
    may("bearer", ValueShape::Choice(TOKEN_USES), "A Bearer token, and what it is for."),
    may("token_key", ValueShape::Keys(&[]), "The pair X-Access-Token and X-Key."),
    may("token", ValueShape::OneOf(TOKEN_CARRIER), "A token, and where it is."),
    may("use", ValueShape::Choice(TOKEN_USES), "What the `token` is for."),
];

const TOKEN_USES: &[&str] = &["access", "renew", "extend", "refresh", "exchange", "about"];

const PARTS: &[KeyShape] = &[
    may("username", ValueShape::MemberOr(NAME), "The place of the name."),
    may("password", ValueShape::Member, "The place of the password."),
    may("code", ValueShape::Member, "The place of the code."),
    may("ticket", ValueShape::Member, "The place of the ticket of the first step."),
];

const PROGRAM: &[KeyShape] = &[
    may("basic", ValueShape::Keys(&[]), "Id and secret by HTTP Basic."),
    may("form", ValueShape::Keys(PROGRAM_PARTS), "Id and secret are parameters of a form."),
    may("json", ValueShape::Keys(PROGRAM_PARTS), "Id and secret are members of a JSON body."),
];

const PROGRAM_PARTS: &[KeyShape] = &[
    must("id", ValueShape::Member, "The place of the id."),
    may("secret", ValueShape::Member, "The place of the secret."),
];

const NAME: &[KeyShape] = &[
    may("at", ValueShape::Member, "The place of the name."),
    may("fixed", ValueShape::Text, "The name, where the request has none."),
    may("strip", TEXTS, "What stands before the name and behind it, and is no part of it."),
];

const CONDITIONS: &[KeyShape] = &[
    may("json", FREE_TABLE, "Members of a JSON body, and their values; `*` for any."),
    may("form", FREE_TABLE, "Parameters of a form, and their values; `*` for any."),
    may("multipart", FREE_TABLE, "Fields of a multipart form, and their values; `*` for any."),
    may("xml", FREE_TABLE, "Elements of an XML body, and their values; `*` for any."),
    may("query", FREE_TABLE, "Parameters of the query, and their values; `*` for any."),
    may("fields", FREE_TABLE, "Header fields, and their values; `*` for any."),
];

const SENT: &[KeyShape] = &[
    may("json", FREE_TABLE, "Members of a JSON body; `$config.NAME` is a value of `config`."),
    may("form", FREE_TABLE, "Parameters of a form."),
    may("multipart", FREE_TABLE, "Fields of a multipart form."),
    may("xml", FREE_TABLE, "Elements of an XML body."),
    may("query", FREE_TABLE, "Parameters of the query."),
    may("fields", FREE_TABLE, "Header fields."),
    may(
        "path",
        FREE_TABLE,
        "Variables of the path; `$session.id` where the login's answer has it.",
    ),
];

const SEEN: &[KeyShape] = &[
    must("status", STATUS, "The status of the answer."),
    may("text", ValueShape::Text, "Its whole body; `*` stands for any text."),
    may("json", FREE_TABLE, "Members of a JSON body, and their values; `*` for any."),
    may("form", FREE_TABLE, "Parameters of a form, and their values; `*` for any."),
    may("xml", FREE_TABLE, "Elements of an XML body, and their values; `*` for any."),
    may("fields", FREE_TABLE, "Header fields, and their values; `*` for any."),
];

const SCHEME: KeyShape =
    may("scheme", ValueShape::Text, "A scheme of Authorization; empty for the bare value.");
const FIELD: KeyShape = may("field", ValueShape::Text, "A header field.");
const COOKIE: KeyShape = may("cookie", ValueShape::Text, "A cookie.");
const QUERY: KeyShape = may("query", ValueShape::Text, "A parameter of the query.");
const VARIABLE: KeyShape = may("path", ValueShape::Text, "A variable of the path.");
const IN_JSON: KeyShape = may("json", ValueShape::Member, "A member of a JSON body.");
const IN_FORM: KeyShape = may("form", ValueShape::Member, "A parameter of a form.");
const IN_PARTS: KeyShape = may("multipart", ValueShape::Member, "A field of a multipart form.");
const IN_XML: KeyShape = may("xml", ValueShape::Member, "An element of an XML body.");

const CARRIER: &[KeyShape] =
    &[SCHEME, FIELD, COOKIE, QUERY, VARIABLE, IN_JSON, IN_FORM, IN_PARTS, IN_XML];

const TOKEN_CARRIER: &[KeyShape] = &[
    SCHEME,
    FIELD,
    COOKIE,
    QUERY,
    VARIABLE,
    IN_JSON,
    IN_FORM,
    IN_PARTS,
    IN_XML,
    may("pair", ValueShape::Keys(PAIR), "An access token and the key of its session."),
];

const PAIR: &[KeyShape] = &[
    must("token", ValueShape::OneOf(CARRIER), "The place of the token."),
    must("key", ValueShape::OneOf(CARRIER), "The place of the key."),
    may(
        "key_is",
        ValueShape::Choice(&["$user.id", "$user.name", "$session.id"]),
        "The fact that the key has to be; by default it is `$session.key`.",
    ),
];

const REPLY: &[KeyShape] = &[
    may("status", STATUS, "The status; by default 200."),
    may("json", ValueShape::Free, "A JSON body, with placeholders such as `$access.token`."),
    FORM_BODY,
    TEXT_BODY,
    XML_BODY,
    CONTENT_TYPE,
    HEADERS,
    COOKIES,
];

const FORM_BODY: KeyShape = may("form", FREE_TABLE, "A body that is a form, with placeholders.");
const TEXT_BODY: KeyShape = may("text", ValueShape::Text, "A body of text, with placeholders.");
const XML_BODY: KeyShape = may("xml", ValueShape::Text, "A body of XML, with placeholders.");
const CONTENT_TYPE: KeyShape = may("content_type", ValueShape::Text, "The media type of the body.");
const HEADERS: KeyShape = may(
    "headers",
    ValueShape::Map(&ValueShape::Text),
    "Header fields, with placeholders such as `$access.token`.",
);
const COOKIES: KeyShape =
    may("cookies", ValueShape::List(&ValueShape::Keys(SET_COOKIE)), "Cookies that it sets.");

const SET_COOKIE: &[KeyShape] = &[
    must("name", ValueShape::Text, "The name."),
    must("value", ValueShape::Text, "The value, with placeholders; an empty one deletes it."),
    may("path", ValueShape::Text, "Where it is sent; by default `/`."),
    may("domain", ValueShape::Text, "The domain it is sent to; by default this host alone."),
    may("max_age", ValueShape::Free, "Its life in seconds, or a placeholder: `$access.ttl`."),
    may("http_only", ValueShape::Flag, "Whether scripts cannot read it; by default they cannot."),
    may("secure", ValueShape::Flag, "Whether it goes over TLS only; by default it does."),
    may(
        "same_site",
        ValueShape::Choice(&["lax", "strict", "none"]),
        "When other sites can have it sent; by default `lax`.",
    ),
];

const ERRORS: ValueShape = ValueShape::Map(&ValueShape::Keys(&[
    may("status", STATUS, "The status, from 200 to 599."),
    may("title", ValueShape::Text, "The value of `$title`."),
    may("detail", ValueShape::Text, "The value of `$detail`; by default the gateway's sentence."),
    may("slug", ValueShape::Text, "The value of `$slug`; by default the code with hyphens."),
    may("json", ValueShape::Free, "A JSON body, with placeholders."),
    FORM_BODY,
    TEXT_BODY,
    XML_BODY,
    may("empty", ValueShape::Flag, "Whether the answer has no body."),
    CONTENT_TYPE,
    HEADERS,
    COOKIES,
    may("challenge", ValueShape::Flag, "`false`: never with WWW-Authenticate."),
    may(
        "seen",
        ValueShape::List(&ValueShape::Keys(SEEN)),
        "Answers of another system that mean this reason, beside the one above.",
    ),
]));

const CLAIMS: &[KeyShape] = &[
    may("access", FREE_TABLE, "Claims of access tokens, with placeholders."),
    may("refresh", FREE_TABLE, "Claims of refresh tokens, with placeholders."),
];

const TOKENS: &[KeyShape] = &[
    may(
        "format",
        ValueShape::Text,
        "`jwt` (the default): access tokens are signed. `opaque`: they are random, and the session \
         store knows them.",
    ),
    may("shape", ValueShape::Text, "Opaque tokens: `uuid`, `hex:40` or `base62:40` (characters)."),
    may("prefix", ValueShape::Text, "Opaque tokens: what each of them begins with."),
    may("algorithm", ValueShape::Text, "What they are signed with; by default `[token]` says."),
    may("access_ttl", ValueShape::Duration, "The life of an access token."),
    may("refresh_ttl", ValueShape::Duration, "The life of a session from its login."),
    may("refresh_idle", ValueShape::Duration, "Ends a session that is not refreshed for so long."),
    may(
        "idle",
        ValueShape::Duration,
        "Opaque tokens: ends one that is not used for so long; each use moves its end.",
    ),
    may("ends_with_access", ValueShape::Flag, "Whether a session ends with its access token."),
];

const CORS: &[KeyShape] = &[
    must(
        "origins",
        TEXTS,
        "Origins, or `[\"*\"]` for any, or `[\"echo\"]` to repeat the caller's.",
    ),
    may("methods", TEXTS, "Methods that a preflight allows."),
    may("headers", TEXTS, "Request fields that a preflight allows."),
    may("expose", TEXTS, "Response fields that scripts may read."),
    may("credentials", ValueShape::Flag, "Whether cookies and credentials may be sent along."),
    may("max_age", ValueShape::Duration, "How long browsers remember a preflight."),
    may("preflight_status", STATUS, "The status of a preflight, 200 or 204."),
];

/// The key that stands for all others, where a dialect is in a file of its own.
pub(super) const FILE: KeyShape = may(
    "file",
    ValueShape::Text,
    "In place of all other keys: the file that has them, beside gateway.toml.",
);

/// The schema of a dialect, which has a name, or is in a file that has one.
pub(super) fn schema() -> TableSchema {
    let mut schema = table(DIALECT);
    schema.keys.extend(table(&[FILE]).keys);
    let alternatives = vec!["name", FILE.name];
    for key in schema.keys.iter_mut().filter(|key| alternatives.contains(&key.name.as_str())) {
        key.is_required = false;
    }
    schema.groups.push(KeyGroup { keys: alternatives, is_required: true });
    schema
}

fn table(keys: &[KeyShape]) -> TableSchema {
    let key = |key: &KeyShape| KeySchema {
        name: key.name.to_owned(),
        values: values(&key.shape),
        is_required: key.is_needed,
        default: None,
        old_name: None,
        description: key.description.to_owned(),
    };
    TableSchema { keys: keys.iter().map(key).collect(), ..TableSchema::default() }
}

fn values(shape: &ValueShape) -> Vec<ValueSchema> {
    let list = |elements| ValueSchema::List { elements, is_filled: false };
    let text = ValueSchema::Text(TextForm::Free);
    vec![match shape {
        ValueShape::Text => text,
        ValueShape::Flag => ValueSchema::Flag,
        ValueShape::Number(least, most) => ValueSchema::Number(*least..=*most),
        ValueShape::Duration => ValueSchema::Duration(Duration::from_millis(1)..=Duration::MAX),
        ValueShape::Free => ValueSchema::Any,
        ValueShape::Member => return vec![text.clone(), list(vec![text])],
        ValueShape::Choice(words) => choice_of(words.iter().copied()),
        ValueShape::Choices(words) => {
            let word = choice_of(words.iter().copied());
            return vec![word.clone(), list(vec![word])];
        }
        ValueShape::List(inner) => list(values(inner)),
        ValueShape::Endpoints => list(vec![ValueSchema::Table(table(ENDPOINT))]),
        ValueShape::Keys(keys) => ValueSchema::Table(table(keys)),
        ValueShape::TextOr(keys) => return vec![text, ValueSchema::Table(table(keys))],
        ValueShape::MemberOr(keys) => {
            return vec![text.clone(), list(vec![text]), ValueSchema::Table(table(keys))];
        }
        ValueShape::ChoiceOr(words, keys) => {
            return vec![choice_of(words.iter().copied()), ValueSchema::Table(table(keys))];
        }
        ValueShape::Map(inner) => ValueSchema::Map(values(inner)),
        ValueShape::OneOf(keys) => {
            let names = keys.iter().map(|key| key.name).collect();
            let groups = vec![KeyGroup { keys: names, is_required: true }];
            ValueSchema::Table(TableSchema { groups, ..table(keys) })
        }
    }]
}
