//! The key builders and the invalidation rules of the Image Project Manager: an example of what an application declares.

use crate::error::Result;
use crate::invalidation::{Invalidates, Invalidation};
use crate::key::{CacheGroup, CacheKey, KeyBuilder, KeyPart, KeyParts};

/// Starts the key of one page of a project's images: `project_images:{project}:skip:0:limit:100:…`.
///
/// Every parameter that changes the result is in the key, in a fixed order, defaults included.
///
/// ```
/// # use cache_core as cache_facade;
/// let key = cache_facade::images::project_images(42).skip(100).search("filename", "cat").build()?;
/// assert_eq!(
///     key.as_str(),
///     "project_images:42:skip:100:limit:100:include_deleted:false:deleted_only:false\
///      :search_field:filename:search_value:cat"
/// );
/// # Ok::<(), cache_facade::Error>(())
/// ```
pub fn project_images(project: impl KeyPart) -> ProjectImages {
    ProjectImages {
        project: project.to_string(),
        skip: 0,
        limit: 100,
        include_deleted: false,
        deleted_only: false,
        search: None,
        filters: Vec::new(),
    }
}

/// The key of an image's metadata: `image:{image}:metadata`.
pub fn image_metadata(image: impl KeyPart) -> CacheKey {
    short(CacheKey::builder(IMAGE, image).part("metadata"))
}

/// The key of a thumbnail: `thumbnail:{image}:{width}x{height}`, both in pixels.
pub fn thumbnail(image: impl KeyPart, width: u32, height: u32) -> CacheKey {
    short(CacheKey::builder(THUMBNAIL, image).part(format_args!("{width}x{height}")))
}

/// The key of an analysis' results: `analysis:{analysis}:results`.
pub fn analysis_results(analysis: impl KeyPart) -> CacheKey {
    short(CacheKey::builder(ANALYSIS, analysis).part("results"))
}

/// The group of all listings of a project.
pub fn project_images_group(project: impl KeyPart) -> CacheGroup {
    CacheGroup::new(PROJECT_IMAGES, project)
}

/// The group of everything kept of an image but its thumbnails.
pub fn image_group(image: impl KeyPart) -> CacheGroup {
    CacheGroup::new(IMAGE, image)
}

/// The group of all sizes of an image's thumbnail.
pub fn thumbnail_group(image: impl KeyPart) -> CacheGroup {
    CacheGroup::new(THUMBNAIL, image)
}

/// The group of everything kept of an analysis.
pub fn analysis_group(analysis: impl KeyPart) -> CacheGroup {
    CacheGroup::new(ANALYSIS, analysis)
}

/// The family of [`project_images`].
pub const PROJECT_IMAGES: &str = "project_images";
/// The family of [`image_metadata`].
pub const IMAGE: &str = "image";
/// The family of [`thumbnail`].
pub const THUMBNAIL: &str = "thumbnail";
/// The family of [`analysis_results`].
pub const ANALYSIS: &str = "analysis";

fn short(key: KeyBuilder) -> CacheKey {
    key.build()
        .expect("an escaped id has at most 600 bytes, so that with these short parts the key is under 1 KiB")
}

/// Builds the key of one page of a project's images; made by [`project_images`]. It is an id of the family `project_images`, too.
#[derive(Debug, Clone)]
#[must_use]
pub struct ProjectImages {
    project: String,
    skip: u64,
    limit: u64,
    include_deleted: bool,
    deleted_only: bool,
    search: Option<(String, String)>,
    filters: Vec<(String, String)>,
}

impl ProjectImages {
    /// Sets how many images are skipped. Default: 0.
    pub fn skip(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Sets how many images a page holds at most. Default: 100.
    pub fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Sets whether deleted images are listed too. Default: false.
    pub fn include_deleted(self, include_deleted: bool) -> Self {
        Self { include_deleted, ..self }
    }

    /// Sets whether only deleted images are listed. Default: false.
    pub fn deleted_only(self, deleted_only: bool) -> Self {
        Self { deleted_only, ..self }
    }

    /// Lists only images whose `field` holds `value`. Default: all.
    pub fn search(self, field: impl KeyPart, value: impl KeyPart) -> Self {
        Self { search: Some((field.to_string(), value.to_string())), ..self }
    }

    /// Adds a filter of the application; filters are sorted by name, so that their order does not matter.
    pub fn filter(mut self, name: impl KeyPart, value: impl KeyPart) -> Self {
        self.filters.push((name.to_string(), value.to_string()));
        self.filters.sort();
        self
    }

    /// Adds a filter that may be absent: `None` adds nothing, which differs from the filter `Some("")`.
    pub fn optional_filter(self, name: impl KeyPart, value: Option<impl KeyPart>) -> Self {
        match value {
            Some(value) => self.filter(name, value),
            None => self,
        }
    }

    /// Finishes the key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) when the filters make it longer than 1 KiB.
    pub fn build(self) -> Result<CacheKey> {
        self.append_to(KeyBuilder::family(PROJECT_IMAGES)).build()
    }
}

impl KeyParts for ProjectImages {
    type First = String;

    fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
        let mut key = key
            .part(&self.project)
            .part("skip")
            .part(self.skip)
            .part("limit")
            .part(self.limit)
            .part("include_deleted")
            .part(self.include_deleted)
            .part("deleted_only")
            .part(self.deleted_only);
        if let Some((field, value)) = &self.search {
            key = key.part("search_field").part(field).part("search_value").part(value);
        }
        for (name, value) in &self.filters {
            key = key.part("filter").part(name).part(value);
        }
        key
    }
}

/// A change to the application's data, and the entries that it makes stale.
///
/// | change | stale |
/// | --- | --- |
/// | `ImageUploaded` | the project's listings |
/// | `ImageUpdated` | the image's metadata, the project's listings |
/// | `ImageReplaced` (new pixels) | as `ImageUpdated`, and all its thumbnails and the named analyses |
/// | `ImageDeleted`, `ImageRestored` | everything of the image, its thumbnails, the project's listings |
/// | `ImageMoved` | the image's metadata, both projects' listings |
/// | `AnalysisChanged` | the analysis |
/// | `ProjectDeleted` | the project's listings |
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the id of the object that it names")]
pub enum ImageChange<Id = String> {
    /// An image was added to a project.
    ImageUploaded { project: Id },
    /// An image's metadata changed.
    ImageUpdated { project: Id, image: Id },
    /// An image has new pixels, which makes its thumbnails and `analyses` stale too.
    ImageReplaced { project: Id, image: Id, analyses: Vec<Id> },
    /// An image was deleted, softly or for good.
    ImageDeleted { project: Id, image: Id },
    /// A deleted image came back.
    ImageRestored { project: Id, image: Id },
    /// An image moved from one project to another.
    ImageMoved { from: Id, to: Id, image: Id },
    /// An analysis has new results.
    AnalysisChanged { analysis: Id },
    /// A project was deleted.
    ProjectDeleted { project: Id },
}

impl<Id: KeyPart> Invalidates for ImageChange<Id> {
    fn invalidations(&self) -> Vec<Invalidation> {
        let listings = |project: &Id| project_images_group(project).into();
        let metadata = |image: &Id| image_metadata(image).into();
        let thumbnails = |image: &Id| thumbnail_group(image).into();
        match self {
            Self::ImageUploaded { project } | Self::ProjectDeleted { project } => vec![listings(project)],
            Self::ImageUpdated { project, image } => vec![metadata(image), listings(project)],
            Self::ImageReplaced { project, image, analyses } => {
                let mut stale = vec![metadata(image), listings(project), thumbnails(image)];
                stale.extend(analyses.iter().map(|analysis| analysis_group(analysis).into()));
                stale
            }
            Self::ImageDeleted { project, image } | Self::ImageRestored { project, image } => {
                vec![image_group(image).into(), thumbnails(image), listings(project)]
            }
            Self::ImageMoved { from, to, image } => vec![metadata(image), listings(from), listings(to)],
            Self::AnalysisChanged { analysis } => vec![analysis_group(analysis).into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builders_make_the_documented_keys() {
        assert_eq!(image_metadata("a").as_str(), "image:a:metadata");
        assert_eq!(thumbnail("a", 640, 480).as_str(), "thumbnail:a:640x480");
        assert_eq!(analysis_results(9).as_str(), "analysis:9:results");
        assert_eq!(
            project_images(7).build().unwrap().as_str(),
            "project_images:7:skip:0:limit:100:include_deleted:false:deleted_only:false"
        );
    }

    #[test]
    fn every_parameter_of_a_listing_is_in_its_key() {
        let base = || project_images(7);
        let variants = [
            base(),
            base().skip(1),
            base().limit(1),
            base().include_deleted(true),
            base().deleted_only(true),
            base().search("filename", "a"),
            base().search("filename", ""),
            base().search("a", "filename"),
            base().filter("camera", "x"),
            base().filter("x", "camera"),
            base().optional_filter("camera", Some("")),
            base().filter("search_field", "filename").filter("search_value", "a"),
        ];
        let keys: std::collections::HashSet<_> =
            variants.iter().map(|v| v.clone().build().unwrap()).collect();
        assert_eq!(keys.len(), variants.len());
    }

    #[test]
    fn an_absent_filter_is_no_filter() {
        let key = |camera: Option<&str>| project_images(7).optional_filter("camera", camera).build().unwrap();
        assert_eq!(key(None), project_images(7).build().unwrap());
        assert_eq!(key(Some("")), project_images(7).filter("camera", "").build().unwrap());
    }

    #[test]
    fn the_order_in_which_filters_are_named_does_not_matter() {
        let one = project_images(7).filter("a", 1).filter("b", 2).build().unwrap();
        let other = project_images(7).filter("b", 2).filter("a", 1).build().unwrap();
        assert_eq!(one, other);
    }

    #[test]
    fn an_id_of_the_worst_length_still_makes_a_key() {
        let worst = ":".repeat(200);
        assert!(thumbnail(&worst, u32::MAX, u32::MAX).as_str().len() <= crate::LONGEST_KEY);
        assert!(thumbnail("x".repeat(100_000), 1, 1).as_str().len() < 100);
    }

    #[test]
    fn every_change_makes_stale_what_its_table_says() {
        let (p, q, i) = ("p", "q", "i");
        let table = [
            (ImageChange::ImageUploaded { project: p }, vec!["group project_images:p"]),
            (
                ImageChange::ImageUpdated { project: p, image: i },
                vec!["key image:i:metadata", "group project_images:p"],
            ),
            (
                ImageChange::ImageReplaced { project: p, image: i, analyses: vec!["a", "b"] },
                vec![
                    "key image:i:metadata",
                    "group project_images:p",
                    "group thumbnail:i",
                    "group analysis:a",
                    "group analysis:b",
                ],
            ),
            (
                ImageChange::ImageDeleted { project: p, image: i },
                vec!["group image:i", "group thumbnail:i", "group project_images:p"],
            ),
            (
                ImageChange::ImageRestored { project: p, image: i },
                vec!["group image:i", "group thumbnail:i", "group project_images:p"],
            ),
            (
                ImageChange::ImageMoved { from: p, to: q, image: i },
                vec!["key image:i:metadata", "group project_images:p", "group project_images:q"],
            ),
            (ImageChange::AnalysisChanged { analysis: "a" }, vec!["group analysis:a"]),
            (ImageChange::ProjectDeleted { project: p }, vec!["group project_images:p"]),
        ];
        for (change, expected) in table {
            let stale: Vec<String> = change.invalidations().iter().map(ToString::to_string).collect();
            assert_eq!(stale, expected, "{change:?}");
        }
    }
}
