//! The account that a login is about: the kind of name that a client gives.

use crate::dialect::{AccountLookup, Endpoint};
use crate::users::LoginName;

/// The name as the endpoint takes it: a username, an e-mail address, or the one or the other, of
/// which the first that a source knows counts.
pub(super) fn account_names(endpoint: &Endpoint, name: &str) -> Vec<LoginName> {
    let kinds = endpoint.account.iter();
    kinds
        .map(|kind| match kind {
            AccountLookup::Username => LoginName::Username(name.to_owned()),
            AccountLookup::Email => LoginName::Email(name.to_owned()),
        })
        .collect()
}
