//! [`Request`]: what applications ask of a cache, made by chance that is the same in every run.

use cache_core::{
    CacheKey, Invalidates, Invalidation,
    images::{self, ImageChange},
};
use fastrand::Rng;

use crate::Outcome;
use crate::workload::{image_keys, zipf};

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A value is wanted; it has so many bytes when it is loaded.
    Read(CacheKey, usize),
    /// The database changed.
    Write(Vec<Invalidation>),
}

/// What a mix is called, and what it asks for.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Its name in rows and plots.
    pub name: String,
    /// In this order.
    pub requests: Vec<Request>,
    /// The limit of the cache in MiB: a good part of what is asked for does not fit.
    pub limit_mb: u64,
}

/// Bytes of a value of the plain mixes: with its header and key it fills a page of the store.
const BYTES: usize = 3900;
/// Distinct keys of the plain mixes: five times as many as fit.
const KEYS: usize = 20_000;
const LIMIT_MB: u64 = 16;

/// Lookups by Zipf's law with this exponent.
pub fn by_zipf(exponent: f64, count: usize) -> Mix {
    let keys = image_keys(0, KEYS);
    let places = zipf(KEYS, exponent, count, &mut Rng::with_seed(31));
    let read = |place: usize| Some(Request::Read(keys.get(place)?.clone(), BYTES));
    let requests = places.into_iter().filter_map(read).collect();
    Mix { name: format!("Zipf {exponent:.1}"), requests, limit_mb: LIMIT_MB }
}

/// Lookups by Zipf's law, interrupted by scans, each of which reads a part of everything once, in order.
pub fn with_scans(count: usize) -> Mix {
    let mut mix = by_zipf(0.9, count * 4 / 5);
    let keys = image_keys(0, KEYS);
    let scan = count / 20;
    let parts: Vec<Vec<Request>> = mix.requests.chunks(count / 5).map(<[_]>::to_vec).collect();
    mix.requests.clear();
    for (number, part) in parts.into_iter().enumerate() {
        mix.requests.extend(part);
        let scanned = keys.iter().cycle().skip(number * scan).take(scan);
        mix.requests.extend(scanned.map(|key| Request::Read(key.clone(), BYTES)));
    }
    "Zipf 0.9 with scans".clone_into(&mut mix.name);
    mix
}

/// What the image manager does: pages of listings, metadata, thumbnails of 10 to 200 KB, and two writes in a hundred calls.
pub fn of_the_application(count: usize) -> Outcome<Mix> {
    const PROJECTS: usize = 40;
    const IMAGES: usize = 4000;
    let mut random = Rng::with_seed(32);
    let images = zipf(IMAGES, 0.9, count, &mut random);
    let mut requests = Vec::with_capacity(count);
    for image in images {
        let project = image % PROJECTS;
        requests.push(match random.usize(..100) {
            0 | 1 => {
                let (project, image) = (project.to_string(), image.to_string());
                let change = match random.usize(..4) {
                    0 => ImageChange::ImageUploaded { project },
                    1 => ImageChange::ImageReplaced { project, image, analyses: Vec::new() },
                    _ => ImageChange::ImageUpdated { project, image },
                };
                Request::Write(change.invalidations())
            }
            2..22 => {
                let page = random.usize(..5) as u64 * 100;
                Request::Read(images::project_images(project).skip(page).limit(100).build()?, 24_000)
            }
            22..62 => Request::Read(images::image_metadata(image), 900),
            _ => Request::Read(images::thumbnail(image, 256, 256), thumbnail_bytes(image)),
        });
    }
    Ok(Mix { name: "the application's mix".to_owned(), requests, limit_mb: 64 })
}

/// 10 to 200 KB, constant for an image.
fn thumbnail_bytes(image: usize) -> usize {
    10_000 + Rng::with_seed(image as u64).usize(..190_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_a_hundred_calls_of_the_application_write() {
        let mix = of_the_application(20_000).unwrap();
        let writes = mix.requests.iter().filter(|request| matches!(request, Request::Write(_))).count();
        assert!((300..500).contains(&writes), "{writes}");
        let sizes = mix.requests.iter().filter_map(|request| match request {
            Request::Read(key, size) if key.family() == "thumbnail" => Some(*size),
            _ => None,
        });
        assert!(sizes.clone().all(|size| (10_000..200_000).contains(&size)) && sizes.count() > 5000);
    }

    #[test]
    fn a_mix_is_as_long_as_it_was_asked_for_and_the_same_every_time() {
        let mix = with_scans(1000);
        assert_eq!(mix.requests.len(), 1000);
        assert_eq!(mix.requests, with_scans(1000).requests);
        assert_eq!(by_zipf(0.7, 500).requests.len(), 500);
    }
}
