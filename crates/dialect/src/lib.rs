//! A dialect: a login wire format as data.
//!
//! A dialect says which paths there are, where the credential is in a request, how each answer and
//! each error looks, and which claims the tokens carry. This module is pure: it has no I/O and
//! knows nothing of users, keys or stores.
//!
//! `raw` is a dialect as its TOML file has it; `check` makes a `Dialect` of it or lists everything
//! that is wrong. `server` reads requests and renders answers. `client` is the reverse of `server`,
//! for asking another system that serves the dialect. `error_format` renders errors, and `example`
//! reads the examples of a file. `config` checks dialects, `login` and `pipeline` serve them, and
//! `users` delegates logins with them.

mod body;
mod body_template;
mod builtin;
mod calls;
mod carrier;
mod check;
mod check_endpoint;
pub mod client;
mod condition;
mod cookie;
mod cors;
mod credential;
mod definition;
mod duration;
mod endpoint_kinds;
mod endpoint_path;
mod error_format;
mod error_table;
pub mod example;
mod local_response;
mod member;
mod member_tree;
mod minted_claims;
mod octets;
mod placeholders;
mod problem;
mod program;
mod raw;
mod raw_credential;
mod reason;
mod reply;
mod reply_fields;
mod request_values;
mod seen_answer;
mod sent_value;
pub mod server;
mod template;
mod template_values;
mod times;
mod token_format;
mod value_group;
mod xml_text;

pub use self::calls::{CallCarrier, ForgeryDefence, ForgeryRule};
pub use self::carrier::{Carrier, PairCarrier, SessionFact};
pub use self::condition::Condition;
pub use self::cors::{CorsOrigins, CorsPolicy};
pub use self::credential::{CredentialForm, NameOrigin, NameSource};
pub use self::definition::{Dialect, Endpoint, PresentedCredential, TokenDefaults};
pub use self::endpoint_kinds::{AccountLookup, EndpointStep, SecondStep, TokenUse};
pub use self::endpoint_path::EndpointPath;
pub use self::error_format::{ErrorFormat, ErrorValues};
pub use self::local_response::LocalResponse;
pub use self::member::MemberPath;
pub use self::minted_claims::{MintedClaims, MissingValue};
pub use self::problem::DialectProblem;
pub use self::program::{PresentedProgram, ProgramForm};
pub use self::raw::{RawCors, RawDialect};
pub use self::reason::Reason;
pub use self::reply::EndpointReply;
pub use self::request_values::RequestValues;
pub use self::template::Template;
pub use self::template_values::{
    LoginValues, SessionValues, TemplateValues, TokenValues, UserValues,
};
pub use self::token_format::{OpaqueFormat, TokenShape};
