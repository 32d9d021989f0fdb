//! Logins in every dialect, their second steps and their sessions.

pub(crate) mod beside; // programs, codes and names beside a password
pub(crate) mod delegated; // logins that a legacy system decides, in every dialect
pub(crate) mod dialect_errors; // every reason in every dialect's form
mod examples; // the examples in the files of dialects
pub(crate) mod golden; // the dialects byte by byte
mod moving_ends; // opaque tokens whose end moves with use
pub(crate) mod opaque_tokens; // random access tokens that the store knows
pub(crate) mod own_dialects; // dialects of the operator's own
pub(crate) mod pages; // the curl lines of the published login pages
pub(crate) mod published; // logins of public products, as their pages have them
pub(crate) mod sessions; // sessions over their whole life
pub(crate) mod totp; // codes of an authenticator as a second step
