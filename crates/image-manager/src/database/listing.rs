//! Pages of a project's images, filtered.

use rusqlite::{Connection, named_params};
use serde::Serialize;
use uuid::Uuid;

use super::images::{Image, read_image};
use super::search::Search;
use crate::error::ApiError;

/// One page of a project's images; `total` counts all that the filter lets through.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ImagePage {
    pub(crate) items: Vec<Image>,
    pub(crate) total: u64,
}

/// A page, and the images that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListingQuery {
    pub(crate) skip: u64,
    pub(crate) limit: u64,
    pub(crate) include_deleted: bool,
    pub(crate) deleted_only: bool,
    pub(crate) search: Option<Search>,
}

/// Returns one page of a project's images, oldest first.
pub(crate) fn images_of(db: &Connection, project: Uuid, query: &ListingQuery) -> Result<ImagePage, ApiError> {
    let ListingQuery { skip, limit, include_deleted, deleted_only, search } = query;
    let project = project.to_string();
    let show_live = !deleted_only;
    let show_deleted = *include_deleted || *deleted_only;
    let field = search.as_ref().map(Search::field);
    let value = search.as_ref().map(Search::value);

    let sql =
        format!("SELECT * FROM images WHERE {FILTER} ORDER BY created_at, id LIMIT :limit OFFSET :skip");
    let mut page = db.prepare_cached(&sql)?;
    let items = page.query_map(
        named_params! { ":project": project, ":show_live": show_live, ":show_deleted": show_deleted,
        ":field": field, ":value": value, ":limit": limit, ":skip": skip },
        read_image,
    )?;
    let items = items.collect::<Result<_, _>>()?;
    let mut count = db.prepare_cached(&format!("SELECT count(*) FROM images WHERE {FILTER}"))?;
    let total = count.query_row(
        named_params! { ":project": project, ":show_live": show_live, ":show_deleted": show_deleted,
        ":field": field, ":value": value },
        |row| row.get(0),
    )?;
    Ok(ImagePage { items, total })
}

/// The filter of a listing, shared by the page and its total.
const FILTER: &str = "project_id = :project
    AND CASE WHEN deleted_at IS NULL THEN :show_live ELSE :show_deleted END
    AND (:field IS NULL OR holds(CASE :field
            WHEN 'filename' THEN filename
            WHEN 'content_type' THEN content_type
            WHEN 'uploaded_by' THEN uploaded_by
            ELSE metadata_text(metadata, :field) END, :value))";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::images::delete_image;
    use super::super::images::testing::{put_image, with_images};
    use super::*;

    const ALL: ListingQuery =
        ListingQuery { skip: 0, limit: 100, include_deleted: false, deleted_only: false, search: None };

    fn found(db: &Connection, project: Uuid, field: &str, value: &str) -> Vec<String> {
        let search = Some(Search::new(field, value));
        let page = images_of(db, project, &ListingQuery { search, ..ALL }).unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        page.items.into_iter().map(|image| image.filename).collect()
    }

    #[tokio::test]
    async fn pages_follow_each_other_and_total_counts_the_filter() {
        with_images(
            |db, project| {
                (0..5).map(|n| put_image(db, project, &format!("{n}.png"), json!({}))).collect::<Vec<_>>()
            },
            |db, project, ids| {
                let page =
                    |skip, limit| images_of(db, project, &ListingQuery { skip, limit, ..ALL }).unwrap();
                let shown =
                    |page: ImagePage| page.items.into_iter().map(|image| image.id).collect::<Vec<_>>();
                assert_eq!((page(0, 2).total, shown(page(0, 2))), (5, ids[..2].to_vec()));
                assert_eq!((page(4, 2).total, shown(page(4, 2))), (5, ids[4..].to_vec()));
                assert_eq!((page(9, 2).total, shown(page(9, 2))), (5, vec![]));
            },
        )
        .await;
    }

    #[tokio::test]
    async fn deleted_images_are_listed_only_when_asked_for() {
        with_images(
            |db, project| {
                let live = put_image(db, project, "live.png", json!({}));
                let deleted = put_image(db, project, "deleted.png", json!({}));
                delete_image(db, deleted).unwrap();
                (live, deleted)
            },
            |db, project, (live, deleted)| {
                let listed = |include_deleted, deleted_only| {
                    let page = images_of(db, project, &ListingQuery { include_deleted, deleted_only, ..ALL })
                        .unwrap();
                    assert_eq!(page.total, page.items.len() as u64);
                    page.items.into_iter().map(|image| image.id).collect::<Vec<_>>()
                };
                assert_eq!(listed(false, false), [live]);
                assert_eq!(listed(true, false), [live, deleted]);
                assert_eq!(listed(false, true), [deleted]);
                assert_eq!(listed(true, true), [deleted]);
            },
        )
        .await;
    }

    #[tokio::test]
    async fn a_search_is_a_substring_in_any_case_and_nothing_else() {
        with_images(
            |db, project| {
                put_image(db, project, "100%_Sure.png", json!({"camera": "ZEISS Öl", "iso": 400}));
                put_image(db, project, "1000 Sure.png", json!({"camera": "Leica", "k\"'": "quoted"}));
            },
            |db, project, ()| {
                assert_eq!(found(db, project, "filename", "sURE"), ["100%_Sure.png", "1000 Sure.png"]);
                assert_eq!(found(db, project, "filename", "0%_s"), ["100%_Sure.png"]);
                assert_eq!(found(db, project, "filename", "%"), ["100%_Sure.png"]);
                assert_eq!(found(db, project, "filename", "1_0"), Vec::<String>::new());
                assert_eq!(found(db, project, "content_type", "IMAGE/png").len(), 2);
                assert_eq!(found(db, project, "uploaded_by", "eve"), Vec::<String>::new());
                assert_eq!(found(db, project, "camera", "öL"), ["100%_Sure.png"]);
                assert_eq!(found(db, project, "iso", "40"), ["100%_Sure.png"]);
                assert_eq!(found(db, project, "k\"'", "QUOTED"), ["1000 Sure.png"]);
                assert_eq!(found(db, project, "lens", "a"), Vec::<String>::new());
            },
        )
        .await;
    }
}
