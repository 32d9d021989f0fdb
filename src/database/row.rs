//! A row as plain values, the same for every kind of database.
//!
//! Supported are text, numbers, booleans, UUIDs, JSON and, in PostgreSQL, arrays of these. A column
//! of another type is an error that names the column: how a date should be written as text, for
//! example, must be said in the query. `users::sql` reads the values by column name.

use serde_json::Value;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::{PgRow, PgTypeInfo, PgTypeKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row as _, TypeInfo, ValueRef};

use super::DatabaseError;

/// One row: the values by column, in the order of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRow(Vec<(String, ColumnValue)>);

#[derive(Clone, Debug, PartialEq)]
enum ColumnValue {
    Read(Value),
    /// A value of this type, which is not supported. Invariant: a row that leaves this module has
    /// none.
    Unread(String),
}

impl QueryRow {
    /// The value of a column. Names are compared without regard to case; `None` if the query has no
    /// such column.
    pub fn value(&self, column: &str) -> Option<&Value> {
        let (_, cell) = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(column))?;
        match cell {
            ColumnValue::Read(value) => Some(value),
            ColumnValue::Unread(_) => None,
        }
    }

    /// The text of a column. Numbers and booleans are converted to text. `None` if there is no such
    /// column, or if it is NULL or a list or object.
    pub fn text(&self, column: &str) -> Option<String> {
        match self.value(column)? {
            Value::String(text) => Some(text.clone()),
            scalar @ (Value::Number(_) | Value::Bool(_)) => Some(scalar.to_string()),
            _ => None,
        }
    }

    /// The names of the columns, in the order of the query.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The row, if all of its values could be read.
    pub(super) fn whole(self) -> Result<Self, DatabaseError> {
        match self.0.iter().find_map(|(column, cell)| cell.unread().map(|kind| (column, kind))) {
            None => Ok(self),
            Some((column, kind)) => {
                Err(DatabaseError::Column { column: column.clone(), kind: kind.to_owned() })
            }
        }
    }

    /// Only the columns that are wanted, if they could be read. A wanted column that occurs twice
    /// is an error, because it is not clear which one is meant.
    pub(super) fn part(mut self, wanted: &[&str]) -> Result<Self, DatabaseError> {
        let wants = |name: &str| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
        self.0.retain(|(name, _)| wants(name));
        for (index, (name, _)) in self.0.iter().enumerate() {
            if self.columns().skip(index + 1).any(|other| other.eq_ignore_ascii_case(name)) {
                return Err(DatabaseError::Twice { column: name.clone() });
            }
        }
        self.whole()
    }

    fn read<R: sqlx::Row>(row: &R, cell: impl Fn(usize) -> ColumnValue) -> Self {
        let columns = row.columns().iter();
        Self(columns.map(|column| (column.name().to_owned(), cell(column.ordinal()))).collect())
    }
}

impl ColumnValue {
    fn unread(&self) -> Option<&str> {
        match self {
            Self::Read(_) => None,
            Self::Unread(kind) => Some(kind),
        }
    }

    /// Reads a cell. `read` is called for a value other than NULL.
    fn parse<'r, V: ValueRef<'r>>(
        raw: Result<V, sqlx::Error>,
        read: impl FnOnce(V) -> Self,
    ) -> Self {
        match raw {
            Ok(raw) if raw.is_null() => Self::Read(Value::Null),
            Ok(raw) => read(raw),
            Err(error) => Self::Unread(error.to_string()),
        }
    }

    fn of(value: Option<Value>, kind: &impl TypeInfo) -> Self {
        value.map_or_else(|| Self::Unread(kind.name().to_owned()), Self::Read)
    }
}

pub(super) fn postgres(row: &PgRow) -> QueryRow {
    QueryRow::read(row, |index| {
        ColumnValue::parse(row.try_get_raw(index), |raw| {
            let kind = raw.type_info();
            let value = raw.as_bytes().ok().and_then(|bytes| binary(&kind, bytes));
            ColumnValue::of(value, kind.as_ref())
        })
    })
}

/// A value in PostgreSQL's binary format; `None` for a type that is not supported.
fn binary(kind: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    match kind.kind() {
        // A domain is another name for a type, and an enumeration is sent as text, so both need no
        // table of names.
        PgTypeKind::Domain(inner) => return binary(inner, bytes),
        PgTypeKind::Enum(_) => return text(bytes),
        PgTypeKind::Array(element) => return array(element, bytes),
        PgTypeKind::Simple => {}
        _ => return None,
    }
    match kind.name().to_ascii_lowercase().as_str() {
        "text" | "varchar" | "char" | "bpchar" | "name" | "citext" | "unknown" => text(bytes),
        "bool" => Some(Value::Bool(bytes != [0])),
        "int2" => Some(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        "int4" => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        "int8" => Some(i64::from_be_bytes(bytes.try_into().ok()?).into()),
        "oid" => Some(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        "float4" => fraction(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        "float8" => fraction(f64::from_be_bytes(bytes.try_into().ok()?)),
        "uuid" => Some(uuid::Uuid::from_slice(bytes).ok()?.to_string().into()),
        "json" => serde_json::from_slice(bytes).ok(),
        // The format has a version byte in front; there is only version 1.
        "jsonb" => serde_json::from_slice(bytes.strip_prefix(&[1])?).ok(),
        _ => None,
    }
}

/// An array in PostgreSQL's binary format: number of dimensions, flags and element type; then
/// length and lower bound for each dimension; then each element with its length in front, where -1
/// means NULL.
fn array(element: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let dimensions = take_i32(&mut rest)?;
    let _flags = take_i32(&mut rest)?;
    let _type = take_i32(&mut rest)?;
    if dimensions == 0 {
        return Some(Value::Array(Vec::new()));
    }
    // Arrays of several dimensions are not supported: no list of roles has them.
    if dimensions != 1 {
        return None;
    }
    let length = take_i32(&mut rest)?;
    let _lower = take_i32(&mut rest)?;
    let mut values = Vec::new();
    for _ in 0..length {
        let value = match usize::try_from(take_i32(&mut rest)?) {
            Ok(size) => {
                let (value, after) = rest.split_at_checked(size)?;
                rest = after;
                binary(element, value)?
            }
            Err(_) => Value::Null,
        };
        values.push(value);
    }
    Some(Value::Array(values))
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*number))
}

pub(super) fn mysql(row: &MySqlRow) -> QueryRow {
    QueryRow::read(row, |index| {
        ColumnValue::parse(row.try_get_raw(index), |raw| {
            let kind = raw.type_info();
            let bytes = || row.try_get_unchecked::<&[u8], _>(index).ok();
            let value = match kind.name() {
                "FLOAT" | "DOUBLE" => row.try_get_unchecked(index).ok().and_then(fraction),
                "BIT" => row.try_get_unchecked::<u64, _>(index).ok().map(Value::from),
                "JSON" => bytes().and_then(|bytes| serde_json::from_slice(bytes).ok()),
                "DATE" | "TIME" | "DATETIME" | "TIMESTAMP" | "YEAR" | "GEOMETRY" => None,
                name if name.ends_with("UNSIGNED") => {
                    row.try_get_unchecked::<u64, _>(index).ok().map(Value::from)
                }
                // `BOOLEAN` is the name that sqlx has for `TINYINT(1)`. The column may hold other
                // numbers as well; those stay numbers.
                "BOOLEAN" => {
                    row.try_get_unchecked::<i64, _>(index).ok().map(|number| match number {
                        0 | 1 => Value::Bool(number == 1),
                        _ => number.into(),
                    })
                }
                name if name.ends_with("INT") => {
                    row.try_get_unchecked::<i64, _>(index).ok().map(Value::from)
                }
                // Text with a binary collation is reported as bytes. The JSON type of MariaDB is of
                // this kind.
                _ => bytes().and_then(text),
            };
            ColumnValue::of(value, kind.as_ref())
        })
    })
}

pub(super) fn sqlite(row: &SqliteRow) -> QueryRow {
    QueryRow::read(row, |index| {
        ColumnValue::parse(row.try_get_raw(index), |raw| {
            let kind = raw.type_info();
            // SQLite has a type for each value, whatever type the column was declared with.
            let value = match kind.name() {
                "INTEGER" => row.try_get_unchecked::<i64, _>(index).ok().map(Value::from),
                "REAL" => row.try_get_unchecked(index).ok().and_then(fraction),
                _ => row.try_get_unchecked::<&[u8], _>(index).ok().and_then(text),
            };
            ColumnValue::of(value, kind.as_ref())
        })
    })
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

/// A fraction as JSON; `None` for infinity and NaN, which JSON does not have.
fn fraction(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}
