//! A dialect: a login wire format as data.
//!
//! A dialect says which paths there are, where the credential is in a request, how each answer and
//! each error looks, and which claims the tokens carry. This module is pure: it has no I/O and
//! knows nothing of users, keys or stores.
//!
//! `raw` is a dialect as its TOML file has it; `check` makes a `Dialect` of it or lists everything
//! that is wrong. `serve` reads requests and renders answers. `speak` is the reverse of `serve`,
//! for asking another system that serves the dialect. `form` renders errors. `config` checks
//! dialects, `login` and `pipeline` serve them, and `users` delegates logins with them.

mod builtin;
mod check;
mod check_endpoint;
mod cors;
mod entries;
mod form;
mod member;
mod places;
mod problem;
mod raw;
mod reason;
pub mod serve;
pub mod speak;
mod spec;
mod template;

pub use self::cors::{Cors, CorsOrigins};
pub use self::form::{Answer, ErrorFacts, ErrorForm};
pub use self::member::MemberPath;
pub use self::problem::Problem;
pub use self::raw::{RawCors, RawDialect};
pub use self::reason::Reason;
pub use self::spec::{
    AccountKey, BearerUse, CredentialForm, Dialect, Endpoint, Facts, LoginFacts, Presented, Reply,
    SecondStep, SessionFacts, Step, TokenDefaults, TokenFacts, UserFacts,
};
pub use self::template::Template;
