//! Whether those who are asked about users are there: connected to as for a login, with nobody's
//! name. For an operator who wants to know before a start.

use super::http;
#[cfg(feature = "ldap")]
use super::ldap::LdapSource;
use super::sql;
use crate::settings::SourceKind;

/// Asks a source, and answers what was seen.
///
/// # Errors
/// Why it could not be used now.
pub async fn reach(source: &SourceKind) -> Result<&'static str, String> {
    match source {
        SourceKind::File { .. } | SourceKind::Htpasswd(_) => Ok("a file"),
        SourceKind::Sql(rules) => {
            sql::reach(rules).await?;
            Ok("connected, and the query is understood")
        }
        #[cfg(not(feature = "ldap"))]
        SourceKind::Ldap(_) => Err(crate::features::LeftOut("ldap").to_string()),
        #[cfg(feature = "ldap")]
        SourceKind::Ldap(ldap) => {
            let source = LdapSource::open("check", ldap).map_err(|error| error.to_string())?;
            source.reach().await?;
            Ok(if ldap.bind.is_some() { "connected and bound" } else { "connected" })
        }
        SourceKind::Http(rules) => {
            http::reach(rules).await?;
            Ok("connected")
        }
    }
}
