//! A login wire format as data.
//!
//! A dialect says which paths there are, where the credential sits in a request, what each
//! answer and each error look like, and which claims the tokens carry. Pure: no I/O, and nothing
//! of users, keys or stores. `raw` is a dialect as its TOML says it, `check` makes a `Dialect` of
//! it or says everything that is wrong; `serve` reads requests and renders answers, `speak` is its
//! way back, for whoever asks a system that serves the dialect; `form` renders errors.

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
