//! Projects and their members.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use uuid::Uuid;

use super::columns::id;
use super::permission::Guarded;
use crate::error::ApiError;

/// A project, as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Project {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) members: Vec<String>,
}

/// Returns the project, for one of its members.
///
/// # Errors
/// Not found, or forbidden to `user`.
pub(crate) fn project_for(db: &Connection, user: &str, project: Uuid) -> Result<Project, ApiError> {
    let name = db
        .prepare_cached("SELECT name FROM projects WHERE id = ?1")?
        .query_row([project.to_string()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| ApiError::not_found("project"))?;
    let members = members_of(db, project)?;
    if !members.iter().any(|member| member == user) {
        return Err(not_a_member());
    }
    Ok(Project { id: project, name, members })
}

/// Finds the project by one statement; its row is of no use to the caller.
pub(crate) fn find_project(
    db: &Connection,
    user: &str,
    project: Uuid,
) -> rusqlite::Result<Option<Guarded<()>>> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM members WHERE project_id = ?1 AND user = ?2) FROM projects WHERE id = ?1",
    )?
    .query_row(params![project.to_string(), user], |row| Ok(Guarded::new((), row.get(0)?)))
    .optional()
}

/// Returns the projects of `user`, oldest first.
pub(crate) fn projects_of(db: &Connection, user: &str) -> Result<Vec<Project>, ApiError> {
    let mut statement = db.prepare_cached(
        "SELECT id, name FROM projects JOIN members ON project_id = id WHERE user = ?1 ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([user], |row| Ok((id(row, "id")?, row.get("name")?)))?;
    rows.map(|row| {
        let (id, name) = row?;
        Ok(Project { id, name, members: members_of(db, id)? })
    })
    .collect()
}

/// Adds a project.
pub(crate) fn add_project(
    db: &Connection,
    project: Uuid,
    name: &str,
    members: &[String],
    creator: &str,
) -> Result<Project, ApiError> {
    db.execute(
        "INSERT INTO projects (id, name, created_by) VALUES (?1, ?2, ?3)",
        params![project.to_string(), name, creator],
    )?;
    insert_members(db, project, members)?;
    Ok(Project { id: project, name: name.to_owned(), members: members_of(db, project)? })
}

/// Replaces the members by these, which are returned in order.
pub(crate) fn set_members(
    db: &Connection,
    project: Uuid,
    members: &[String],
) -> Result<Vec<String>, ApiError> {
    db.execute("DELETE FROM members WHERE project_id = ?1", [project.to_string()])?;
    insert_members(db, project, members)?;
    members_of(db, project)
}

/// Deletes the project with its images and their analyses; their files are the caller's to remove after the commit.
pub(crate) fn delete_project(db: &Connection, project: Uuid) -> Result<(), ApiError> {
    db.execute("DELETE FROM projects WHERE id = ?1", [project.to_string()])?;
    Ok(())
}

/// Returns the files of all images of a project, deleted ones too.
pub(crate) fn files_of(db: &Connection, project: Uuid) -> Result<Vec<Uuid>, ApiError> {
    let mut statement = db.prepare_cached("SELECT file_id FROM images WHERE project_id = ?1")?;
    let files = statement.query_map([project.to_string()], |row| id(row, "file_id"))?;
    Ok(files.collect::<Result<_, _>>()?)
}

/// The state of the samples of a new database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Samples {
    /// This is the first start.
    Wanted,
    /// An earlier start made the project, and did not come to an end.
    Incomplete(Uuid),
    /// They are complete.
    Done,
}

/// Before the id of the project of incomplete samples, in the name of a milestone.
const INCOMPLETE: &str = "samples of ";

/// Returns the state of the samples.
pub(crate) fn samples(db: &Connection) -> Result<Samples, ApiError> {
    let names: Vec<String> = db
        .prepare_cached("SELECT name FROM milestones")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if !names.iter().any(|name| name == "seeded") {
        return Ok(Samples::Wanted);
    }
    let project = names.iter().find_map(|name| Uuid::try_parse(name.strip_prefix(INCOMPLETE)?).ok());
    Ok(project.map_or(Samples::Done, Samples::Incomplete))
}

/// Records that the samples are made in `project` from now on; of several instances that try, one succeeds.
pub(crate) fn begin_samples(db: &Connection, project: Uuid) -> Result<bool, ApiError> {
    if db.execute("INSERT OR IGNORE INTO milestones (name) VALUES ('seeded')", [])? == 0 {
        return Ok(false);
    }
    db.execute("INSERT INTO milestones (name) VALUES (?1)", [format!("{INCOMPLETE}{project}")])?;
    Ok(true)
}

/// Records that the samples in `project` are complete.
pub(crate) fn end_samples(db: &Connection, project: Uuid) -> Result<(), ApiError> {
    db.execute("DELETE FROM milestones WHERE name = ?1", [format!("{INCOMPLETE}{project}")])?;
    Ok(())
}

/// Returns the names of the files that a project has or had images of.
pub(crate) fn filenames_of(db: &Connection, project: Uuid) -> Result<HashSet<String>, ApiError> {
    let mut statement = db.prepare_cached("SELECT filename FROM images WHERE project_id = ?1")?;
    let names = statement.query_map([project.to_string()], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

pub(super) fn not_a_member() -> ApiError {
    ApiError::forbidden("only the project's members may do this")
}

fn members_of(db: &Connection, project: Uuid) -> Result<Vec<String>, ApiError> {
    let mut statement = db.prepare_cached("SELECT user FROM members WHERE project_id = ?1 ORDER BY user")?;
    let members = statement.query_map([project.to_string()], |row| row.get(0))?;
    Ok(members.collect::<Result<_, _>>()?)
}

fn insert_members(db: &Connection, project: Uuid, members: &[String]) -> Result<(), ApiError> {
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO members (project_id, user) VALUES (?1, ?2)")?;
    for member in members {
        insert.execute(params![project.to_string(), member])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing::database;

    fn members(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn only_members_see_a_project() {
        let (_directory, database) = database();
        let project = Uuid::now_v7();
        database
            .put(move |db| add_project(db, project, "P", &members(&["bob", "ann", "bob"]), "ann"))
            .await
            .unwrap();
        database
            .read(move |db| {
                assert_eq!(project_for(db, "ann", project)?.members, ["ann", "bob"]);
                assert_eq!(project_for(db, "eve", project), Err(not_a_member()));
                assert_eq!(project_for(db, "ann", Uuid::now_v7()), Err(ApiError::not_found("project")));
                assert_eq!(projects_of(db, "bob")?.len(), 1);
                assert_eq!(projects_of(db, "eve")?.len(), 0);
                Ok(())
            })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn replacing_the_members_removes_those_not_named() {
        let (_directory, database) = database();
        let project = Uuid::now_v7();
        database
            .put(move |db| {
                add_project(db, project, "P", &members(&["ann", "bob"]), "ann")?;
                assert_eq!(set_members(db, project, &members(&["cid", "bob", "cid"]))?, ["bob", "cid"]);
                Ok(())
            })
            .await
            .unwrap();
        let seen = database.read(move |db| project_for(db, "bob", project)).await.unwrap();
        assert_eq!(seen.members, ["bob", "cid"]);
    }

    #[tokio::test]
    async fn the_first_start_happens_once_and_is_remembered_until_it_ends() {
        let (_directory, database) = database();
        let project = Uuid::now_v7();
        assert_eq!(database.read(|db| samples(db)).await, Ok(Samples::Wanted));
        assert_eq!(database.put(move |db| begin_samples(db, project)).await, Ok(true));
        assert_eq!(database.put(|db| begin_samples(db, Uuid::now_v7())).await, Ok(false));
        assert_eq!(database.read(|db| samples(db)).await, Ok(Samples::Incomplete(project)));
        database.put(move |db| end_samples(db, project)).await.unwrap();
        assert_eq!(database.read(|db| samples(db)).await, Ok(Samples::Done));
    }
}
