//! A dialect: a login wire format as data.
//!
//! A dialect says which paths there are, where the credential is in a request, how each answer and
//! each error looks, and which claims the tokens carry. This module is pure: it has no I/O and
//! knows nothing of users, keys or stores.
//!
//! `raw` is a dialect as its TOML file has it; `check` makes a `Dialect` of it or lists everything
//! that is wrong. `server` reads requests and renders answers. `client` is the reverse of `server`,
//! for asking another system that serves the dialect. `error_format` renders errors. `config`
//! checks dialects, `login` and `pipeline` serve them, and `users` delegates logins with them.

mod builtin;
mod check;
mod check_endpoint;
pub mod client;
mod cors;
mod definition;
mod error_format;
mod error_table;
mod member;
mod placeholders;
mod problem;
mod raw;
mod reason;
pub mod server;
mod template;

pub use self::cors::{CorsOrigins, CorsPolicy};
pub use self::definition::{
    AccountLookup, BearerUse, CredentialForm, Dialect, Endpoint, EndpointReply, EndpointStep,
    LoginValues, PresentedCredential, SecondStep, SessionValues, TemplateValues, TokenDefaults,
    TokenValues, UserValues,
};
pub use self::error_format::{ErrorFormat, ErrorValues, LocalResponse};
pub use self::member::MemberPath;
pub use self::problem::DialectProblem;
pub use self::raw::{RawCors, RawDialect};
pub use self::reason::Reason;
pub use self::template::Template;
