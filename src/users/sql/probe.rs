//! The checks of a database that need nobody's name: whether it is reached, and whether its
//! queries could ever find a user.

use crate::database::{AccessMode, AddressError, Database, DatabaseAddress, DatabaseOptions};
use crate::settings::{SqlDatabase, SqlUsers};

/// The database as it is queried. The first query makes the connection.
pub(super) fn database(
    settings: &SqlDatabase,
    access: AccessMode,
) -> Result<Database, AddressError> {
    let address = DatabaseAddress::parse(&settings.url, &settings.folder)?;
    let options = DatabaseOptions {
        ca: settings.ca.as_ref().map(|(_, pem)| pem.clone()),
        allow_plain: settings.allow_plain,
        timeout: settings.timeout,
        parallel: u32::try_from(settings.parallel).unwrap_or(u32::MAX),
    };
    Ok(Database::new(address, options, access))
}

/// Connects, and has the queries understood without running them.
pub(super) async fn probe(reader: &Database, rules: &SqlUsers) -> Result<(), String> {
    for query in std::iter::once(&rules.query).chain(&rules.email_query) {
        let columns = reader.columns(query).await.map_err(|error| error.chain())?;
        check_columns(rules, columns.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Checks that every column named in the configuration exists. If the column for disabled users
/// were missing, for example after a change of the schema, everybody would be let in.
pub(super) fn check_columns<'c>(
    rules: &SqlUsers,
    columns: impl Iterator<Item = &'c str>,
) -> Result<(), String> {
    let there: Vec<&str> = columns.collect();
    let has = |needed: &str| there.iter().any(|column| column.eq_ignore_ascii_case(needed));
    match rules.columns.needed().find(|needed| !has(needed)) {
        None => Ok(()),
        Some(column) => Err(format!("the query has no column `{column}`")),
    }
}

/// Whether the database is there, for an operator who asks before a start.
///
/// # Errors
/// Why it is not, or cannot be used.
pub(in crate::users) async fn reach(rules: &SqlUsers) -> Result<(), String> {
    let reader = database(&rules.database, AccessMode::Read).map_err(|error| error.to_string())?;
    probe(&reader, rules).await
}
