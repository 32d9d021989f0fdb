//! A row of an answer: every value as JSON, or the type that could not be read.

use std::sync::Arc;

use serde_json::Value;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::{PgRow, PgTypeInfo, PgTypeKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row as _, TypeInfo, ValueRef};

use super::DatabaseError;

/// One row; its columns are asked for by name, case aside.
#[derive(Clone, Debug)]
pub struct Row {
    cells: Vec<(Arc<str>, Cell)>,
}

#[derive(Clone, Debug)]
enum Cell {
    Read(Value),
    /// A value of this type, which we cannot read.
    Unreadable(String),
}

impl Row {
    /// True if the answer has a column of this name.
    pub fn has(&self, column: &str) -> bool {
        self.cells.iter().any(|(name, _)| name.eq_ignore_ascii_case(column))
    }

    /// A value as JSON: text, numbers, booleans, UUIDs as text, lists of these, JSON itself.
    ///
    /// # Errors
    /// When there is not exactly one such column, or its type cannot be read.
    pub fn value(&self, column: &str) -> Result<&Value, DatabaseError> {
        let mut named = self.cells.iter().filter(|(name, _)| name.eq_ignore_ascii_case(column));
        let column = column.to_owned();
        match (named.next(), named.next()) {
            (None, _) => Err(DatabaseError::NoColumn { column }),
            (Some(_), Some(_)) => Err(DatabaseError::TwoColumns { column }),
            (Some((_, Cell::Read(value))), None) => Ok(value),
            (Some((_, Cell::Unreadable(kind))), None) => {
                Err(DatabaseError::Unreadable { column, kind: kind.clone() })
            }
        }
    }

    /// A value as text; `None` for NULL.
    ///
    /// # Errors
    /// As `value`.
    pub fn text(&self, column: &str) -> Result<Option<String>, DatabaseError> {
        Ok(match self.value(column)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
    }

    fn read<R: sqlx::Row>(row: &R, cell: impl Fn(usize) -> Cell) -> Self {
        let columns = row.columns().iter();
        let cells = columns.map(|column| (Arc::from(column.name()), cell(column.ordinal())));
        Self { cells: cells.collect() }
    }
}

impl Cell {
    fn of(value: Option<Value>, kind: &impl TypeInfo) -> Self {
        value.map_or_else(|| Self::Unreadable(kind.name().to_owned()), Self::Read)
    }
}

pub(super) fn postgres(row: &PgRow) -> Row {
    Row::read(row, |index| match row.try_get_raw(index) {
        Ok(raw) if raw.is_null() => Cell::Read(Value::Null),
        Ok(raw) => {
            let kind = raw.type_info();
            let value = raw.as_bytes().ok().and_then(|bytes| binary(&kind, bytes));
            Cell::of(value, kind.as_ref())
        }
        Err(error) => Cell::Unreadable(error.to_string()),
    })
}

/// A value in PostgreSQL's binary form.
fn binary(kind: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    match kind.kind() {
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
        // A version comes first, of which there is one.
        "jsonb" => serde_json::from_slice(bytes.strip_prefix(&[1])?).ok(),
        _ => None,
    }
}

/// A list in PostgreSQL's binary form: dimensions, flags and element type; for each dimension
/// its length and lower bound; then each element after its length, -1 for NULL.
fn array(element: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let dimensions = take_i32(&mut rest)?;
    let (_flags, _type) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
    if dimensions == 0 {
        return Some(Value::Array(Vec::new()));
    }
    if dimensions != 1 {
        return None;
    }
    let (length, _lower) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
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

pub(super) fn mysql(row: &MySqlRow) -> Row {
    Row::read(row, |index| {
        let raw = match row.try_get_raw(index) {
            Ok(raw) if raw.is_null() => return Cell::Read(Value::Null),
            Ok(raw) => raw,
            Err(error) => return Cell::Unreadable(error.to_string()),
        };
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
            name if name.ends_with("INT") || name == "BOOLEAN" => {
                row.try_get_unchecked::<i64, _>(index).ok().map(Value::from)
            }
            // Text of a binary collation is told as bytes; MariaDB's JSON is such.
            _ => bytes().and_then(text),
        };
        Cell::of(value, kind.as_ref())
    })
}

pub(super) fn sqlite(row: &SqliteRow) -> Row {
    Row::read(row, |index| {
        let raw = match row.try_get_raw(index) {
            Ok(raw) if raw.is_null() => return Cell::Read(Value::Null),
            Ok(raw) => raw,
            Err(error) => return Cell::Unreadable(error.to_string()),
        };
        let kind = raw.type_info();
        // A value's own type, whatever the column was declared as.
        let value = match kind.name() {
            "INTEGER" => row.try_get_unchecked::<i64, _>(index).ok().map(Value::from),
            "REAL" => row.try_get_unchecked(index).ok().and_then(fraction),
            _ => row.try_get_unchecked::<&[u8], _>(index).ok().and_then(text),
        };
        Cell::of(value, kind.as_ref())
    })
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

/// JSON has no infinity and no NaN.
fn fraction(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}
