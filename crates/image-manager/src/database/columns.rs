//! How the application's own types lie in columns.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef};
use uuid::Uuid;

use crate::metadata::Metadata;
use crate::pictures::{AnalysisKind, Format};

/// Reads a column that holds a UUID as text.
pub(super) fn id(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    let text: String = row.get(column)?;
    Uuid::try_parse(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(text.len(), Type::Text, Box::new(error)))
}

impl FromSql for Format {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_content_type(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for AnalysisKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_name(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for Metadata {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_text(value.as_str()?.to_owned()).map_err(FromSqlError::other)
    }
}
