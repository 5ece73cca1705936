//! `/api/projects`: projects and their members.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use cache_facade::images::{self, ImageChange};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::database::{self, Project};
use crate::error::ApiError;
use crate::extract::{Body, Id, User, checked_user};
use crate::names::checked_name;

/// Longest name of a project, in characters.
const NAME_MAX_CHARS: usize = 200;

/// Most members of a project.
const MEMBERS_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct NewProject {
    name: String,
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NewMembers {
    members: Vec<String>,
}

pub(super) async fn list(State(app): State<App>, User(user): User) -> Result<Json<Value>, ApiError> {
    let projects = app.database().read(move |db| database::projects_of(db, &user)).await?;
    Ok(Json(json!({ "items": projects })))
}

pub(super) async fn view(
    State(app): State<App>,
    User(user): User,
    Id(project): Id,
) -> Result<Json<Project>, ApiError> {
    app.database().read(move |db| database::project_for(db, &user, project)).await.map(Json)
}

pub(super) async fn create(
    State(app): State<App>,
    User(user): User,
    Body(new): Body<NewProject>,
) -> Result<(StatusCode, Json<Project>), ApiError> {
    let name = checked_name(&new.name).filter(|name| name.chars().count() <= NAME_MAX_CHARS);
    let name = name.ok_or_else(|| {
        ApiError::invalid(format!(
            "a project's name has 1 to {NAME_MAX_CHARS} characters, none of them invisible, and is not \".\" or \"..\""
        ))
    })?;
    let mut members = checked_members(&new.members)?;
    members.push(user.clone());
    let project = add(&app, name, members, user).await?;
    Ok((StatusCode::CREATED, Json(project)))
}

/// Adds a project whose name and members are known to be good.
pub(crate) async fn add(
    app: &App,
    name: String,
    members: Vec<String>,
    creator: String,
) -> Result<Project, ApiError> {
    let (database, project) = (app.database().clone(), Uuid::now_v7());
    app.change(images::project_images_group(project), async move |announced| {
        database
            .write(announced, move |db| database::add_project(db, project, &name, &members, &creator))
            .await
    })
    .await
}

pub(super) async fn set_members(
    State(app): State<App>,
    User(user): User,
    Id(project): Id,
    Body(new): Body<NewMembers>,
) -> Result<Json<Project>, ApiError> {
    let members = checked_members(&new.members)?;
    check_member(&app, &user, project).await?;
    if members.is_empty() {
        return Err(ApiError::invalid("a project without members could not be reached by anybody"));
    }
    let database = app.database().clone();
    app.change(images::project_images_group(project), async move |announced| {
        database
            .write(announced, move |db| {
                let mut seen = database::project_for(db, &user, project)?;
                seen.members = database::set_members(db, project, &members)?;
                Ok(seen)
            })
            .await
    })
    .await
    .map(Json)
}

pub(super) async fn remove(
    State(app): State<App>,
    User(user): User,
    Id(project): Id,
) -> Result<StatusCode, ApiError> {
    check_member(&app, &user, project).await?;
    let (database, originals) = (app.database().clone(), app.originals().clone());
    // The entries of its images stay until they are evicted: no request reaches them, as their rows are gone and ids
    // are never used again.
    app.change(ImageChange::ProjectDeleted { project }, async move |announced| {
        let deleted = database.write(announced, move |db| {
            database::project_for(db, &user, project)?;
            let files = database::files_of(db, project)?;
            database::delete_project(db, project)?;
            Ok(files)
        });
        originals.remove(deleted.await?).await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Checks in the database that the user is a member of the project: authorisation comes before the cache.
pub(super) async fn check_member(app: &App, user: &str, project: Uuid) -> Result<(), ApiError> {
    let user = user.to_owned();
    let found = app.database().find(move |db| database::find_project(db, &user, project)).await?;
    database::permitted(found, "project")
}

fn checked_members(names: &[String]) -> Result<Vec<String>, ApiError> {
    if names.len() > MEMBERS_MAX {
        return Err(ApiError::invalid(format!("a project has at most {MEMBERS_MAX} members")));
    }
    let wrong = || ApiError::invalid("a member's name has 1 to 200 bytes and no invisible characters");
    names.iter().map(|name| checked_user(name).ok_or_else(wrong)).collect()
}
