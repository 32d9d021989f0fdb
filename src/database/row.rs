//! A row as plain values, whichever database it came from.
//!
//! Text, whole numbers, booleans, UUIDs, JSON and, in PostgreSQL, arrays of text. Any other type
//! is an error that names the column: guessing how a date or a float should read is not ours.

use serde_json::Value;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::{PgRow, PgTypeKind};
use sqlx::sqlite::SqliteRow;
use sqlx::types::Uuid;
use sqlx::{Column, Row as _, TypeInfo, ValueRef};

use super::DatabaseError;

/// One row: values by column, in the order of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// The value of a column, compared without case; `None` if the query has no such column.
    pub fn value(&self, column: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, value)| value)
    }

    /// The text of a column; whole numbers are written out. `None` if there is no such column, or
    /// it is NULL or of another type.
    pub fn text(&self, column: &str) -> Option<String> {
        match self.value(column)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn of_postgres(row: &PgRow) -> Result<Self, DatabaseError> {
        let value = |column: &sqlx::postgres::PgColumn| {
            let at = column.ordinal();
            if row.try_get_raw(at)?.is_null() {
                return Ok(Value::Null);
            }
            let info = column.type_info();
            Ok(match info.name() {
                "BOOL" => row.try_get::<bool, _>(at)?.into(),
                "INT2" => row.try_get::<i16, _>(at)?.into(),
                "INT4" => row.try_get::<i32, _>(at)?.into(),
                "INT8" => row.try_get::<i64, _>(at)?.into(),
                "UUID" => row.try_get::<Uuid, _>(at)?.to_string().into(),
                "JSON" | "JSONB" => row.try_get::<Value, _>(at)?,
                "TEXT[]" | "VARCHAR[]" | "CHAR[]" | "NAME[]" => {
                    let items = row.try_get::<Vec<Option<String>>, _>(at)?;
                    items.into_iter().flatten().map(Value::from).collect::<Vec<_>>().into()
                }
                // What is text inside: enumerations and extensions' types.
                "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "citext" => {
                    row.try_get_unchecked::<String, _>(at)?.into()
                }
                _ if matches!(info.kind(), PgTypeKind::Enum(_)) => {
                    row.try_get_unchecked::<String, _>(at)?.into()
                }
                kind => return Err(unread(column.name(), kind)),
            })
        };
        Self::collect(row.columns(), value)
    }

    pub(super) fn of_mysql(row: &MySqlRow) -> Result<Self, DatabaseError> {
        let value = |column: &sqlx::mysql::MySqlColumn| {
            let at = column.ordinal();
            if row.try_get_raw(at)?.is_null() {
                return Ok(Value::Null);
            }
            Ok(match column.type_info().name() {
                "BOOLEAN" => row.try_get::<bool, _>(at)?.into(),
                "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
                    row.try_get::<i64, _>(at)?.into()
                }
                "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED"
                | "INT UNSIGNED" | "BIGINT UNSIGNED" => row.try_get::<u64, _>(at)?.into(),
                "JSON" => row.try_get::<Value, _>(at)?,
                "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" => {
                    row.try_get_unchecked::<String, _>(at)?.into()
                }
                // Text in a binary collation.
                "VARBINARY" | "BINARY" | "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
                    let bytes = row.try_get::<Vec<u8>, _>(at)?;
                    let text = String::from_utf8(bytes);
                    text.map_err(|_| unread(column.name(), "BLOB that is not text"))?.into()
                }
                kind => return Err(unread(column.name(), kind)),
            })
        };
        Self::collect(row.columns(), value)
    }

    pub(super) fn of_sqlite(row: &SqliteRow) -> Result<Self, DatabaseError> {
        let value = |column: &sqlx::sqlite::SqliteColumn| {
            let at = column.ordinal();
            // SQLite's types are the values', not the columns'.
            let raw = row.try_get_raw(at)?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            let info = raw.type_info().into_owned();
            Ok(match info.name() {
                "TEXT" => row.try_get_unchecked::<String, _>(at)?.into(),
                "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(at)?.into(),
                kind => return Err(unread(column.name(), kind)),
            })
        };
        Self::collect(row.columns(), value)
    }

    fn collect<C: Column>(
        columns: &[C],
        value: impl Fn(&C) -> Result<Value, DatabaseError>,
    ) -> Result<Self, DatabaseError> {
        let read = |column: &C| Ok((column.name().to_owned(), value(column)?));
        columns.iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn unread(column: &str, kind: &str) -> DatabaseError {
    DatabaseError::Column { column: column.to_owned(), kind: kind.to_owned() }
}
