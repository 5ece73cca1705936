//! The invalidation rules of the Image Project Manager, as data: which change makes what stale.

use std::fmt::Display;

use crate::invalidation::{Invalidates, Invalidation};
use crate::keys;

/// A change to the application's data; [`Invalidates`] says what it makes stale.
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
#[expect(missing_docs, reason = "each field is the id of what it is named after")]
pub enum Change<Id = String> {
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
    /// An image went from one project to another.
    ImageMoved { from: Id, to: Id, image: Id },
    /// An analysis has new results.
    AnalysisChanged { analysis: Id },
    /// A project was deleted.
    ProjectDeleted { project: Id },
}

impl<Id: Display> Invalidates for Change<Id> {
    fn invalidations(&self) -> Vec<Invalidation> {
        match self {
            Self::ImageUploaded { project } | Self::ProjectDeleted { project } => vec![listings(project)],
            Self::ImageUpdated { project, image } => vec![metadata(image), listings(project)],
            Self::ImageReplaced { project, image, analyses } => {
                let mut stale = vec![metadata(image), listings(project), thumbnails(image)];
                stale.extend(analyses.iter().map(analysis));
                stale
            }
            Self::ImageDeleted { project, image } | Self::ImageRestored { project, image } => {
                vec![keys::image_group(image).into(), thumbnails(image), listings(project)]
            }
            Self::ImageMoved { from, to, image } => vec![metadata(image), listings(from), listings(to)],
            Self::AnalysisChanged { analysis: id } => vec![analysis(id)],
        }
    }
}

fn listings(project: &impl Display) -> Invalidation {
    keys::project_images_group(project).into()
}

fn metadata(image: &impl Display) -> Invalidation {
    keys::image_metadata(image).into()
}

fn thumbnails(image: &impl Display) -> Invalidation {
    keys::thumbnail_group(image).into()
}

fn analysis(id: &impl Display) -> Invalidation {
    keys::analysis_group(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_makes_stale_what_its_table_says() {
        let (p, q, i) = ("p", "q", "i");
        let table = [
            (Change::ImageUploaded { project: p }, vec!["group project_images:p"]),
            (
                Change::ImageUpdated { project: p, image: i },
                vec!["key image:i:metadata", "group project_images:p"],
            ),
            (
                Change::ImageReplaced { project: p, image: i, analyses: vec!["a", "b"] },
                vec![
                    "key image:i:metadata",
                    "group project_images:p",
                    "group thumbnail:i",
                    "group analysis:a",
                    "group analysis:b",
                ],
            ),
            (
                Change::ImageDeleted { project: p, image: i },
                vec!["group image:i", "group thumbnail:i", "group project_images:p"],
            ),
            (
                Change::ImageRestored { project: p, image: i },
                vec!["group image:i", "group thumbnail:i", "group project_images:p"],
            ),
            (
                Change::ImageMoved { from: p, to: q, image: i },
                vec!["key image:i:metadata", "group project_images:p", "group project_images:q"],
            ),
            (Change::AnalysisChanged { analysis: "a" }, vec!["group analysis:a"]),
            (Change::ProjectDeleted { project: p }, vec!["group project_images:p"]),
        ];
        for (change, expected) in table {
            let stale: Vec<String> = change.invalidations().iter().map(ToString::to_string).collect();
            assert_eq!(stale, expected, "{change:?}");
        }
    }
}
