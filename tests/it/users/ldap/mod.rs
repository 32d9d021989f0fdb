//! Users of a real directory: logins through a whole gateway, and what the source itself says.

mod gateway; // logins, refreshes and outages as clients see them
mod source; // names, passwords, groups and connections

use std::sync::Arc;

use tollhouse::config;
use tollhouse::secret::SecretString;
use tollhouse::settings::SourceKind;
use tollhouse::users::{LdapSource, LoginName, PasswordCheck, SourceError, UserRecord, UserSource};

use crate::harness::gateway::PASSWORD;
use crate::harness::tls_gateway::route_to;
use crate::harness::{Gateway, Slapd};

/// Roles by group.
const GROUPS: &str = r#"
groups = { base = "ou=groups,dc=example", roles = { admins = "admin", "cn=dev,ou=groups,dc=example" = ["developer", "tester"] } }
"#;

/// The source that a section describes.
pub(crate) fn open(section: &str) -> Arc<LdapSource> {
    let path = std::path::Path::new("/gateway.toml");
    let builder =
        Gateway::builder().with_users(section).config(&route_to("u", "builtin:echo", "/", ""));
    let config =
        config::parse(&builder.text(), path, &|_| None).unwrap_or_else(|issues| panic!("{issues}"));
    match &config.config.users[0].kind {
        SourceKind::Ldap(ldap) => LdapSource::open("directory", ldap).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The source of a directory, with `keys` besides.
fn source(slapd: &Slapd, keys: &str) -> Arc<LdapSource> {
    open(&slapd.section(keys))
}

fn username(name: &str) -> LoginName {
    LoginName::Username(name.to_owned())
}

async fn try_check(
    source: &LdapSource,
    name: &str,
    password: &str,
) -> Result<PasswordCheck, SourceError> {
    source.check(&username(name), &SecretString::from(password), None).await
}

async fn check(source: &LdapSource, name: &str, password: &str) -> PasswordCheck {
    try_check(source, name, password).await.unwrap()
}

/// The user whose password is `PASSWORD`.
async fn admitted(source: &LdapSource, name: &str) -> UserRecord {
    match check(source, name, PASSWORD).await {
        PasswordCheck::Correct { user, .. } => *user,
        other => panic!("{name}: {other:?}"),
    }
}

/// Why there is no answer.
#[track_caller]
fn cause<T: std::fmt::Debug>(answer: Result<T, SourceError>) -> String {
    match answer {
        Err(SourceError::Unavailable { name, cause }) => {
            assert_eq!(name, "directory");
            cause
        }
        other => panic!("an answer: {other:?}"),
    }
}
