//! The account that a login is about: the kind of name that a client gives.

use crate::dialect::{AccountLookup, Endpoint};
use crate::users::LoginName;

/// The kind of name that the endpoint takes: a username or an e-mail address.
pub(super) fn account_name(endpoint: &Endpoint, name: &str) -> LoginName {
    match endpoint.account {
        AccountLookup::Username => LoginName::Username(name.to_owned()),
        AccountLookup::Email => LoginName::Email(name.to_owned()),
    }
}
