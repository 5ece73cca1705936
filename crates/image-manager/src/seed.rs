//! The first content of a new database: a project "Samples" with a few pictures.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::io::Cursor;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use cache_facade::images;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use uuid::Uuid;

use crate::app::App;
use crate::database::{self, Samples};
use crate::error::ApiError;
use crate::pictures::blocking;
use crate::settings::Seed;
use crate::uploads;

const PROJECT: &str = "Samples";

/// Fills a new database as the settings say. Does nothing once that is done; of several instances that start at once, one
/// does it.
///
/// Samples that cannot be added are a warning: the next start adds what is missing.
///
/// # Errors
/// When the folder cannot be read, or the database cannot be written to. A file that is no picture is passed over.
pub async fn seed(app: &App) -> Result<(), ApiError> {
    let pictures = match &app.settings().seed {
        Seed::Nothing => return Ok(()),
        Seed::Generated => None,
        Seed::Folder(folder) => Some(names_in(folder).map_err(|error| {
            ApiError::internal(&format!("reading the folder {}", folder.display()), error)
        })?),
    };
    let Some(owner) = app.settings().default_user().map(str::to_owned).or_else(|| first_admin(app)) else {
        tracing::info!("no samples: without a loopback address they need a user in ADMIN_USERS to belong to");
        return Ok(());
    };
    if app.database().read(|db| database::samples(db)).await? == Samples::Done {
        if pictures.is_some() {
            tracing::info!("--seed is passed over: it counts at the first start on a DATA_DIR only");
        }
        return Ok(());
    }
    // The instance that holds the lock adds the samples; the lock ends with its process.
    let Some(_lock) = lock(app)? else { return Ok(()) };
    let project = match app.database().read(|db| database::samples(db)).await? {
        Samples::Wanted => begin(app, &owner).await?,
        Samples::Incomplete(project) => Some(project),
        Samples::Done => None,
    };
    let Some(project) = project else { return Ok(()) };
    match fill(app, &owner, project, pictures).await {
        Ok(()) => end(app, project).await,
        // The project was deleted, or taken from its owner, before it was complete.
        Err(error) if error.status().is_client_error() => end(app, project).await,
        Err(error) => {
            tracing::warn!(%error, "the samples are incomplete; the next start adds what is missing");
            Ok(())
        }
    }
}

fn first_admin(app: &App) -> Option<String> {
    app.settings().admin_users.first().cloned()
}

/// Takes the lock among the instances that share the data directory; none while another holds it.
fn lock(app: &App) -> Result<Option<File>, ApiError> {
    let failed = |error| ApiError::file("locking samples.lock below DATA_DIR", &error);
    let path = app.settings().data_directory.join("samples.lock");
    let file = File::options().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Makes the project, unless the database had a start before.
async fn begin(app: &App, owner: &str) -> Result<Option<Uuid>, ApiError> {
    let (database, project) = (app.database().clone(), Uuid::now_v7());
    let mut members = app.settings().admin_users.clone();
    members.push(owner.to_owned());
    let owner = owner.to_owned();
    app.change(images::project_images_group(project), async move |announced| {
        database
            .write(announced, move |db| {
                if !database::begin_samples(db, project)? {
                    return Ok(None);
                }
                database::add_project(db, project, PROJECT, &members, &owner)?;
                Ok(Some(project))
            })
            .await
    })
    .await
}

/// Adds the samples that the project does not have yet.
async fn fill(
    app: &App,
    owner: &str,
    project: Uuid,
    pictures: Option<Vec<std::path::PathBuf>>,
) -> Result<(), ApiError> {
    let present = app.database().read(move |db| database::filenames_of(db, project)).await?;
    let Some(files) = pictures else {
        return add_generated(app, owner, project, &present).await;
    };
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if present.contains(&name) {
            continue;
        }
        match tokio::fs::read(&path).await {
            Ok(bytes) => add(app, owner, project, &name, bytes.into()).await?,
            Err(error) => tracing::warn!(%error, file = %path.display(), "a sample cannot be read"),
        }
    }
    Ok(())
}

async fn end(app: &App, project: Uuid) -> Result<(), ApiError> {
    let database = app.database().clone();
    app.change(images::project_images_group(project), async move |announced| {
        database.write(announced, move |db| database::end_samples(db, project)).await
    })
    .await
}

async fn add_generated(
    app: &App,
    owner: &str,
    project: Uuid,
    present: &HashSet<String>,
) -> Result<(), ApiError> {
    for (name, draw) in GENERATED {
        if present.contains(name) {
            continue;
        }
        let file = blocking(move || draw().map_err(|error| ApiError::internal("drawing a sample", error)));
        add(app, owner, project, name, file.await?).await?;
    }
    Ok(())
}

async fn add(app: &App, owner: &str, project: Uuid, name: &str, file: Bytes) -> Result<(), ApiError> {
    match uploads::take(app, name, file).await {
        Ok(upload) => {
            let image = uploads::add(app, owner.to_owned(), project, upload).await?;
            tracing::info!(name, id = %image.id, "sample added");
        }
        Err(refused) if refused.status().is_client_error() => tracing::info!(name, %refused, "no sample"),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Lists the files of a folder by name, without those of folders inside it.
fn names_in(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

type Draw = fn() -> image::ImageResult<Bytes>;

const GENERATED: [(&str, Draw); 4] = [
    ("sunset.jpg", || encode(&sunset(), ImageFormat::Jpeg)),
    ("ripples.png", || encode(&ripples(), ImageFormat::Png)),
    ("disc.webp", || encode(&disc(), ImageFormat::WebP)),
    ("tiles.gif", || encode(&tiles(), ImageFormat::Gif)),
];

fn encode(picture: &DynamicImage, format: ImageFormat) -> image::ImageResult<Bytes> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format)?;
    Ok(file.into_inner().into())
}

fn sunset() -> DynamicImage {
    RgbImage::from_fn(960, 640, |x, y| {
        let (dx, dy) = (f64::from(x) - 640.0, f64::from(y) - 360.0);
        let glow = (1.0 - dx.hypot(dy) / 700.0).clamp(0.0, 1.0);
        let height = f64::from(y) / 640.0;
        if dx.hypot(dy) < 60.0 && y < 400 {
            return Rgb([255, 240, 200]);
        }
        if y >= 400 {
            return Rgb([byte(90.0 * glow + 20.0), byte(50.0 * glow + 30.0), byte(70.0 + 40.0 * height)]);
        }
        Rgb([byte(255.0 * glow + 40.0), byte(120.0 * glow + 60.0 * height), byte(140.0 - 90.0 * glow)])
    })
    .into()
}

fn ripples() -> DynamicImage {
    RgbImage::from_fn(640, 480, |x, y| {
        let wave = |cx: f64, cy: f64| ((f64::from(x) - cx).hypot(f64::from(y) - cy) / 9.0).sin();
        let height = wave(180.0, 160.0) + wave(470.0, 330.0);
        Rgb([byte(30.0 + 20.0 * height), byte(110.0 + 40.0 * height), byte(160.0 + 45.0 * height)])
    })
    .into()
}

fn disc() -> DynamicImage {
    RgbaImage::from_fn(400, 400, |x, y| {
        let distance = (f64::from(x) - 200.0).hypot(f64::from(y) - 200.0);
        Rgba([byte(255.0 - distance), byte(distance / 2.0), 120, byte((190.0 - distance) * 20.0)])
    })
    .into()
}

fn tiles() -> DynamicImage {
    const PALETTE: [[u8; 3]; 4] = [[200, 60, 40], [240, 200, 60], [40, 120, 90], [30, 40, 80]];
    RgbImage::from_fn(320, 240, |x, y| {
        let tile = (x / 40 * 3 + y / 40 * 5) as usize % PALETTE.len();
        Rgb(PALETTE.get(tile).copied().unwrap_or_default())
    })
    .into()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn byte(value: f64) -> u8 {
    value.clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::testing::inspect;

    #[test]
    fn every_generated_picture_would_be_accepted() {
        for (name, draw) in GENERATED {
            assert!(inspect(&draw().unwrap()).is_ok(), "{name}");
        }
    }
}
