//! `GET /api/projects/{id}/images`: one page of a project's images.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Json};
use cache_facade::images::{self, ProjectImages};
use serde::Deserialize;
use uuid::Uuid;

use super::projects::check_member;
use crate::app::App;
use crate::database::{self, ImagePage, ListingQuery, Search};
use crate::error::ApiError;
use crate::extract::{Id, Query, User};

const LIMIT_MAX: u64 = 1000;

/// As far as SQLite counts.
const SKIP_MAX: u64 = i64::MAX.unsigned_abs();

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    skip: u64,
    limit: u64,
    include_deleted: bool,
    deleted_only: bool,
    search_field: String,
    search_value: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            skip: 0,
            limit: 100,
            include_deleted: false,
            deleted_only: false,
            search_field: String::new(),
            search_value: String::new(),
        }
    }
}

/// Authorises a request, and names its page in the cache.
pub(super) async fn permit(
    State(app): State<App>,
    User(user): User,
    Id(project): Id,
    Query(parameters): Query<Parameters>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let query = parameters.checked()?;
    check_member(&app, &user, project).await?;
    let extensions = request.extensions_mut();
    if let Ok(key) = page(project, &query).build() {
        extensions.insert(key);
    }
    extensions.insert(query);
    Ok(next.run(request).await)
}

pub(super) async fn list(
    State(app): State<App>,
    Id(project): Id,
    Extension(query): Extension<ListingQuery>,
) -> Result<Json<ImagePage>, ApiError> {
    app.database().read(move |db| database::images_of(db, project, &query)).await.map(Json)
}

impl Parameters {
    fn checked(self) -> Result<ListingQuery, ApiError> {
        let Self { skip, limit, include_deleted, deleted_only, search_field, search_value } = self;
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::bad_request(format!("limit must be from 1 to {LIMIT_MAX}")));
        }
        if skip > SKIP_MAX {
            return Err(ApiError::bad_request("skip is too large"));
        }
        // A form sends its empty fields too: they filter nothing.
        let is_search = !search_field.is_empty() && !search_value.is_empty();
        let search = is_search.then(|| Search::new(&search_field, &search_value));
        Ok(ListingQuery { skip, limit, include_deleted, deleted_only, search })
    }
}

/// Returns the id of a page, which has every parameter that changes the page.
fn page(project: Uuid, query: &ListingQuery) -> ProjectImages {
    let ListingQuery { skip, limit, include_deleted, deleted_only, search } = query;
    let page = images::project_images(project)
        .skip(*skip)
        .limit(*limit)
        .include_deleted(*include_deleted)
        .deleted_only(*deleted_only);
    match search {
        Some(search) => page.search(search.field(), search.value()),
        None => page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept() {
        let checked = |skip, limit| Parameters { skip, limit, ..Parameters::default() }.checked();
        assert!(checked(0, 1).is_ok() && checked(SKIP_MAX, 1000).is_ok());
        for (skip, limit) in [(0, 0), (0, 1001), (SKIP_MAX + 1, 1)] {
            assert_eq!(checked(skip, limit).unwrap_err().status().as_u16(), 400);
        }
    }

    #[test]
    fn half_a_search_is_none() {
        let searched = |field: &str, value: &str| {
            let parameters = Parameters {
                search_field: field.to_owned(),
                search_value: value.to_owned(),
                ..Parameters::default()
            };
            parameters.checked().unwrap().search
        };
        assert_eq!(searched("", ""), None);
        assert_eq!(searched("filename", ""), None);
        assert_eq!(searched("", "cat"), None);
        assert!(searched("filename", "cat").is_some());
    }

    #[test]
    fn the_longest_search_still_has_a_key() {
        let search = Some(Search::new(&"%:*".repeat(10_000), &"ö?".repeat(10_000)));
        let query =
            ListingQuery { skip: SKIP_MAX, limit: 1000, include_deleted: true, deleted_only: true, search };
        assert!(page(Uuid::now_v7(), &query).build().is_ok());
    }
}
