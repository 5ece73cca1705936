//! Images: their rows, changes and permissions.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use uuid::Uuid;

use super::columns::id;
use super::permission::{Guarded, permitted};
use crate::error::ApiError;
use crate::metadata::Metadata;
use crate::pictures::Format;

/// An image, as it is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Image {
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) filename: String,
    pub(crate) content_type: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) size_bytes: u64,
    pub(crate) metadata: Metadata,
    pub(crate) uploaded_by: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) deleted_at: Option<String>,
}

/// The part of an image's row that a request needs before it may ask the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredImage {
    pub(crate) id: Uuid,
    pub(crate) project: Uuid,
    pub(crate) file: Uuid,
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) filename: String,
    pub(crate) size_bytes: u64,
    pub(crate) deleted: bool,
}

impl StoredImage {
    /// Returns the image, unless it is deleted.
    ///
    /// # Errors
    /// Not found.
    pub(crate) fn alive(self) -> Result<Self, ApiError> {
        if self.deleted { Err(ApiError::not_found("image")) } else { Ok(self) }
    }
}

/// A file in the store of originals, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewFile {
    pub(crate) file: Uuid,
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) size_bytes: u64,
}

/// An image to be added.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    pub(crate) id: Uuid,
    pub(crate) project: Uuid,
    pub(crate) filename: String,
    pub(crate) metadata: Metadata,
    pub(crate) uploaded_by: String,
}

/// Returns the image, deleted or not, for a member of its project.
///
/// # Errors
/// Not found, or forbidden to `user`.
pub(crate) fn image_for(db: &Connection, user: &str, image: Uuid) -> Result<StoredImage, ApiError> {
    permitted(find_image(db, user, image)?, "image")
}

/// Finds the image, deleted or not, by one statement.
pub(crate) fn find_image(
    db: &Connection,
    user: &str,
    image: Uuid,
) -> rusqlite::Result<Option<Guarded<StoredImage>>> {
    db.prepare_cached(
            "SELECT id, project_id, file_id, content_type, width, height, filename, size_bytes, deleted_at,
                 EXISTS (SELECT 1 FROM members WHERE members.project_id = images.project_id AND user = ?2) AS member
             FROM images WHERE id = ?1",
        )?
        .query_row(params![image.to_string(), user], |row| {
            Ok(Guarded::new(read_stored_image(row)?, row.get("member")?))
        })
        .optional()
}

/// Returns the image, deleted or not, for a load, whose result serves all members of the project.
///
/// # Errors
/// Not found.
pub(crate) fn stored_image(db: &Connection, image: Uuid) -> Result<StoredImage, ApiError> {
    db.prepare_cached("SELECT * FROM images WHERE id = ?1")?
        .query_row([image.to_string()], read_stored_image)
        .optional()?
        .ok_or_else(|| ApiError::not_found("image"))
}

/// Returns the image as it is answered, deleted or not.
///
/// # Errors
/// Not found.
pub(crate) fn image(db: &Connection, image: Uuid) -> Result<Image, ApiError> {
    db.prepare_cached("SELECT * FROM images WHERE id = ?1")?
        .query_row([image.to_string()], read_image)
        .optional()?
        .ok_or_else(|| ApiError::not_found("image"))
}

/// Adds an image.
pub(crate) fn add_image(db: &Connection, new: &NewImage, file: &NewFile) -> Result<Image, ApiError> {
    let NewImage { id, project, filename, metadata, uploaded_by } = new;
    let NewFile { file, format, width, height, size_bytes } = file;
    db.execute(
        "INSERT INTO images
             (id, project_id, file_id, filename, content_type, width, height, size_bytes, metadata, uploaded_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            id.to_string(),
            project.to_string(),
            file.to_string(),
            filename,
            format.content_type(),
            width,
            height,
            size_bytes,
            metadata.as_text(),
            uploaded_by
        ],
    )?;
    image(db, *id)
}

/// Replaces the whole metadata of an image.
pub(crate) fn set_metadata(db: &Connection, id: Uuid, metadata: &Metadata) -> Result<Image, ApiError> {
    db.execute(
        &format!("UPDATE images SET metadata = ?2, updated_at = {NOW} WHERE id = ?1"),
        params![id.to_string(), metadata.as_text()],
    )?;
    image(db, id)
}

/// Gives an image new pixels; the old file is the caller's to remove after the commit.
pub(crate) fn replace_file(
    db: &Connection,
    id: Uuid,
    filename: &str,
    new: &NewFile,
) -> Result<Image, ApiError> {
    let NewFile { file, format, width, height, size_bytes } = new;
    db.execute(
        &format!(
            "UPDATE images SET file_id = ?2, filename = ?3, content_type = ?4, width = ?5, height = ?6,
                 size_bytes = ?7, updated_at = {NOW} WHERE id = ?1"
        ),
        params![id.to_string(), file.to_string(), filename, format.content_type(), width, height, size_bytes],
    )?;
    image(db, id)
}

/// Marks an image as deleted.
pub(crate) fn delete_image(db: &Connection, image: Uuid) -> Result<(), ApiError> {
    db.execute(
        &format!("UPDATE images SET deleted_at = {NOW}, updated_at = {NOW} WHERE id = ?1"),
        [image.to_string()],
    )?;
    Ok(())
}

/// Reverts [`delete_image`].
pub(crate) fn restore_image(db: &Connection, id: Uuid) -> Result<Image, ApiError> {
    db.execute(
        &format!("UPDATE images SET deleted_at = NULL, updated_at = {NOW} WHERE id = ?1"),
        [id.to_string()],
    )?;
    image(db, id)
}

/// Returns whether any image, deleted or not, is kept in `file`.
pub(crate) fn file_is_known(db: &Connection, file: Uuid) -> Result<bool, ApiError> {
    Ok(db.prepare_cached("SELECT 1 FROM images WHERE file_id = ?1")?.exists([file.to_string()])?)
}

/// The present as text, once for a statement.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

fn read_stored_image(row: &Row<'_>) -> rusqlite::Result<StoredImage> {
    Ok(StoredImage {
        id: id(row, "id")?,
        project: id(row, "project_id")?,
        file: id(row, "file_id")?,
        format: row.get("content_type")?,
        width: row.get("width")?,
        height: row.get("height")?,
        filename: row.get("filename")?,
        size_bytes: row.get("size_bytes")?,
        deleted: row.get::<_, Option<String>>("deleted_at")?.is_some(),
    })
}

pub(super) fn read_image(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        id: id(row, "id")?,
        project_id: id(row, "project_id")?,
        filename: row.get("filename")?,
        content_type: row.get("content_type")?,
        width: row.get("width")?,
        height: row.get("height")?,
        size_bytes: row.get("size_bytes")?,
        metadata: row.get("metadata")?,
        uploaded_by: row.get("uploaded_by")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        deleted_at: row.get("deleted_at")?,
    })
}

#[cfg(test)]
pub(super) mod testing {
    use rusqlite::Transaction;

    use super::*;
    use crate::database::testing::database;
    use crate::database::{Database, add_project};

    /// Adds an image by `ann`.
    pub(crate) fn put_image(
        db: &Connection,
        project: Uuid,
        filename: &str,
        metadata: serde_json::Value,
    ) -> Uuid {
        let id = Uuid::now_v7();
        let new = NewImage {
            id,
            project,
            filename: filename.to_owned(),
            metadata: Metadata::of(metadata),
            uploaded_by: "ann".to_owned(),
        };
        let file = NewFile { file: Uuid::new_v4(), format: Format::Png, width: 3, height: 2, size_bytes: 9 };
        add_image(db, &new, &file).unwrap();
        id
    }

    /// Runs `check` on a project of `ann` that was filled by `fill`.
    pub(crate) async fn with_images<T: Send + 'static>(
        fill: impl FnOnce(&Connection, Uuid) -> T + Send + 'static,
        check: impl FnOnce(&Transaction<'_>, Uuid, T) + Send + 'static,
    ) {
        let (_directory, database): (_, Database) = database();
        let project = Uuid::now_v7();
        let filled = database
            .put(move |db| {
                add_project(db, project, "P", &["ann".to_owned()], "ann")?;
                Ok(fill(db, project))
            })
            .await
            .unwrap();
        let checked = database.read(move |db| {
            check(db, project, filled);
            Ok(())
        });
        checked.await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::projects::not_a_member;
    use super::testing::{put_image, with_images};
    use super::*;

    #[tokio::test]
    async fn an_image_reads_back_as_it_was_added() {
        with_images(
            |db, project| put_image(db, project, "a.png", json!({"k": [1]})),
            |db, project, id| {
                let image = image(db, id).unwrap();
                assert_eq!((image.project_id, image.filename.as_str()), (project, "a.png"));
                assert_eq!((image.width, image.height, image.size_bytes), (3, 2, 9));
                assert_eq!(image.metadata, Metadata::of(json!({"k": [1]})));
                assert_eq!(image.created_at.len(), "2026-01-02T03:04:05.678Z".len());
                assert!(image.created_at.ends_with('Z') && image.deleted_at.is_none());
            },
        )
        .await;
    }

    #[tokio::test]
    async fn only_members_reach_an_image() {
        with_images(
            |db, project| put_image(db, project, "a.png", json!({})),
            |db, _, id| {
                assert_eq!(image_for(db, "ann", id).unwrap().id, id);
                assert_eq!(image_for(db, "eve", id), Err(not_a_member()));
                assert_eq!(image_for(db, "ann", Uuid::now_v7()), Err(ApiError::not_found("image")));
            },
        )
        .await;
    }

    #[tokio::test]
    async fn a_restored_image_is_as_it_was() {
        with_images(
            |db, project| {
                let id = put_image(db, project, "a.png", json!({"k": 1}));
                let before = image(db, id).unwrap();
                delete_image(db, id).unwrap();
                assert!(image_for(db, "ann", id).unwrap().alive().is_err());
                (before, restore_image(db, id).unwrap())
            },
            |_, _, (before, after)| {
                assert_eq!(Image { updated_at: before.updated_at.clone(), ..after }, before);
            },
        )
        .await;
    }
}
