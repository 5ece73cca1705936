//! Analyses: the kinds that were asked for of each image. Their results are computed from the pixels, and cached.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use uuid::Uuid;

use super::columns::id;
use super::images::{StoredImage, find_image, stored_image};
use super::permission::Guarded;
use crate::error::ApiError;
use crate::pictures::AnalysisKind;

/// An analysis, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Analysis {
    pub(crate) id: Uuid,
    pub(crate) kind: AnalysisKind,
}

/// Notes an analysis of an image.
pub(crate) fn add_analysis(db: &Connection, image: Uuid, new: &Analysis, user: &str) -> Result<(), ApiError> {
    let Analysis { id, kind } = new;
    db.execute(
        "INSERT INTO analyses (id, image_id, kind, created_by) VALUES (?1, ?2, ?3, ?4)",
        params![id.to_string(), image.to_string(), kind.name(), user],
    )?;
    Ok(())
}

/// Returns all analyses of an image, oldest first.
pub(crate) fn analyses_of(db: &Connection, image: Uuid) -> Result<Vec<Analysis>, ApiError> {
    let mut statement =
        db.prepare_cached("SELECT id, kind FROM analyses WHERE image_id = ?1 ORDER BY created_at, id")?;
    let analyses = statement
        .query_map([image.to_string()], |row| Ok(Analysis { id: id(row, "id")?, kind: row.get("kind")? }))?;
    Ok(analyses.collect::<Result<_, _>>()?)
}

/// Finds the analysis and its image, deleted or not. The first of its two statements reads a row that never changes.
pub(crate) fn find_analysis(
    db: &Connection,
    user: &str,
    analysis: Uuid,
) -> rusqlite::Result<Option<Guarded<(AnalysisKind, StoredImage)>>> {
    let Some((kind, image)) = kind_and_image(db, analysis)? else { return Ok(None) };
    Ok(find_image(db, user, image)?.map(|found| found.map(|image| (kind, image))))
}

/// Returns the analysis and its image for a load, whose result serves all members of the project.
///
/// # Errors
/// Not found.
pub(crate) fn stored_analysis(
    db: &Connection,
    analysis: Uuid,
) -> Result<(AnalysisKind, StoredImage), ApiError> {
    let (kind, image) = kind_and_image(db, analysis)?.ok_or_else(|| ApiError::not_found("analysis"))?;
    Ok((kind, stored_image(db, image)?))
}

fn kind_and_image(db: &Connection, analysis: Uuid) -> rusqlite::Result<Option<(AnalysisKind, Uuid)>> {
    db.prepare_cached("SELECT kind, image_id FROM analyses WHERE id = ?1")?
        .query_row([analysis.to_string()], |row| Ok((row.get("kind")?, id(row, "image_id")?)))
        .optional()
}
