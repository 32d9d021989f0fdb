//! The account that a login is about: the kind of name that a client gives, and the user as
//! templates see them.

use crate::dialect::{AccountLookup, Endpoint, UserValues};
use crate::identity::Subject;
use crate::users::{LoginName, UserRecord};

/// The kind of name that the endpoint takes: a username or an e-mail address.
pub(super) fn account_name(endpoint: &Endpoint, name: &str) -> LoginName {
    match endpoint.account {
        AccountLookup::Username => LoginName::Username(name.to_owned()),
        AccountLookup::Email => LoginName::Email(name.to_owned()),
    }
}

/// The user as templates see them, with the subject as id.
pub(super) fn user_facts(user: &UserRecord, subject: &Subject) -> UserValues {
    UserValues {
        id: subject.to_string(),
        name: user.name.clone(),
        email: user.email.clone(),
        roles: user.roles.clone(),
        scopes: user.scopes.clone(),
        claims: user.claims.clone(),
    }
}
