//! A login wire format as data.
//!
//! A dialect says which paths there are, where the credential sits in a request, what each
//! answer and each error look like, and which claims the tokens carry. Pure: no I/O, and nothing
//! of users, keys or stores. `serve` reads requests and renders answers; `form` renders errors.

mod cors;
mod form;
mod reason;
mod spec;
mod template;

pub use self::cors::{Cors, CorsOrigins};
pub use self::form::{Answer, ErrorFacts, ErrorForm};
pub use self::reason::Reason;
pub use self::spec::{
    AccountKey, BearerUse, CredentialForm, Dialect, Endpoint, Facts, LoginFacts, Presented, Reply,
    SecondStep, SessionFacts, Step, TokenDefaults, TokenFacts, UserFacts,
};
pub use self::template::Template;
