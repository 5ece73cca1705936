//! Pages of a project's images, cached by every parameter and invalidated by one change.
//!
//! `cargo run -p cache-facade --example listing_with_invalidation`

use std::sync::{Arc, Mutex};

use cache_facade::{
    Cache, Family, Invalidated, LoadError, Source, assert_invalidates,
    images::{self, ImageChange},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Image {
    id: u32,
    name: String,
}

/// Stands for a database: closures own a handle to it, because a load may outlive its request.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<Vec<Image>>>);

impl Database {
    async fn page(&self, skip: usize, limit: usize) -> Result<Vec<Image>, std::io::Error> {
        tokio::task::yield_now().await;
        let rows = self.0.lock().map_err(|_| std::io::Error::other("poisoned"))?;
        Ok(rows.iter().skip(skip).take(limit).cloned().collect())
    }

    async fn insert(&self, name: &str) -> Result<Image, std::io::Error> {
        tokio::task::yield_now().await;
        let mut rows = self.0.lock().map_err(|_| std::io::Error::other("poisoned"))?;
        let image = Image { id: u32::try_from(rows.len()).unwrap_or(u32::MAX), name: name.to_owned() };
        rows.push(image.clone());
        Ok(image)
    }
}

type Pages = Family<images::ProjectImages, Vec<Image>>;

async fn list(pages: &Pages, database: &Database, skip: usize) -> Result<Source, LoadError<std::io::Error>> {
    let id = images::project_images(7).skip(skip as u64).limit(2);
    println!("{}", pages.key(id.clone()));
    let database = database.clone();
    let load = async move || database.page(skip, 2).await;
    let page = pages.get_or_load(id, load).details().await?;
    println!("{} images, {}", page.len(), page.source);
    Ok(page.source)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (cache, database) = (Cache::memory(), Database::default());
    let pages: Pages = cache.family("project_images")?;
    for name in ["cat.png", "dog.png", "owl.png"] {
        database.insert(name).await?;
    }
    for skip in [0, 2, 0, 2] {
        list(&pages, &database, skip).await?;
    }

    // An upload makes all pages of the project stale, whatever their parameters.
    let upload = ImageChange::ImageUploaded { project: 7 };
    assert_invalidates(&upload, &[pages.key(images::project_images(7).skip(2).limit(2))]);
    let rows = database.clone();
    let image = cache.change(&upload, async move || rows.insert("fox.png").await).await?;
    assert_eq!(image.invalidated, Invalidated::Applied { removed: 2 });
    println!("uploaded {} as {}", image.name, image.id);

    assert_eq!(list(&pages, &database, 2).await?, Source::Loaded);
    Ok(())
}
