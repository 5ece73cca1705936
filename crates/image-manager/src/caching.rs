//! Every use of the cache by the application: reads through it, and changes that are announced to it before they are
//! committed.

use bytes::Bytes;
use cache_facade::{Cache, Commit, Family, Invalidates, images};
use uuid::Uuid;

use crate::app::App;
use crate::database::WriteError;
use crate::error::ApiError;
use crate::pictures::{Findings, Size};

/// What is cached, with the keys of [`images`].
#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) listings: Family<images::ProjectImages, Bytes>,
    pub(crate) metadata: Family<(Uuid, &'static str), Bytes>,
    pub(crate) thumbnails: Family<(Uuid, Size), Bytes>,
    pub(crate) findings: Family<(Uuid, &'static str), Findings>,
}

impl Families {
    pub(crate) fn of(cache: &Cache) -> cache_facade::Result<Self> {
        Ok(Self {
            listings: cache.family(images::PROJECT_IMAGES)?,
            metadata: cache.family(images::IMAGE)?,
            thumbnails: cache.family(images::THUMBNAIL)?,
            findings: cache.family(images::ANALYSIS)?,
        })
    }
}

/// Proof that the cache knows the values that a write is about to make stale: [`App::change`] creates it, the database
/// requires it.
#[derive(Debug)]
pub(crate) struct Announced(());

impl App {
    /// Commits a change of the database, and returns once no value that it makes stale can be read any more.
    ///
    /// # Errors
    /// The error of `commit`. 503 when the cache could not note the change, which is not committed then. Internal when the
    /// cache could not invalidate after the commit: its next start, or the same change again, does.
    ///
    /// # Cancellation
    /// Once polled, the change runs to its end.
    pub(crate) async fn change<T, F, Fut>(&self, what: impl Invalidates, commit: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(Announced) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, WriteError>> + Send + 'static,
    {
        let commit = async move || match commit(Announced(())).await {
            Ok(value) => Commit::Done(value),
            Err(WriteError::RolledBack(error)) => Commit::RolledBack(error),
            Err(WriteError::Unknown(error)) => Commit::InDoubt(error),
        };
        Ok(self.cache().change(what, commit).await?.into_value())
    }
}

#[cfg(test)]
impl Announced {
    /// Creates a proof for tests of the database alone.
    pub(crate) fn for_tests() -> Self {
        Self(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_make_the_keys_of_the_builders() {
        let families = Families::of(&Cache::memory()).unwrap();
        let (id, size) = (Uuid::from_u128(7), Size::new(320, 240));
        assert_eq!(families.metadata.key((id, "metadata")), images::image_metadata(id));
        assert_eq!(families.thumbnails.key((id, size)), images::thumbnail(id, 320, 240));
        assert_eq!(families.findings.key((id, "results")), images::analysis_results(id));
        let page = || images::project_images(id).skip(50).search("name", "cat");
        assert_eq!(families.listings.key(page()), page().build().unwrap());
    }
}
