//! Images that change between the authorisation of a request, which names its key, and its handler.

use std::sync::Arc;

use cache_facade::{Cache, CacheKey, images};
use image::ImageFormat;
use uuid::Uuid;

use crate::harness::{Answer, Server, file, plain, png};
use crate::observed::Observed;

/// A server with an image, and its store.
struct Site {
    server: Server,
    store: Arc<Observed>,
    image: Uuid,
}

impl Site {
    fn new() -> Self {
        let store = Arc::new(Observed::default());
        let server = Server::with_cache(Cache::new(store.clone()));
        let image = server.upload(&server.project(), "a.png", &png([1, 1, 1]));
        Self { server, store, image: image.parse().unwrap() }
    }

    /// Sends a request for `path` below the image, and makes `change` once it was authorised and is about to look at `key`.
    fn ask_during(&self, path: &str, key: CacheKey, change: impl FnOnce(&Server, &str)) -> Answer {
        let Self { server, store, image } = self;
        let image = format!("/api/images/{image}");
        let (begun, release) = store.hold(key);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| server.get("ann", &format!("{image}{path}")).expect(200));
            begun.recv().unwrap();
            change(server, &image);
            drop(release);
            asked.join().unwrap()
        })
    }
}

const STORED: &str = "cache-http; fwd=miss; stored";
const REFUSED: &str = "cache-http; fwd=miss; detail=no-store";

#[test]
fn an_image_that_is_deleted_after_it_was_authorised_is_not_stored() {
    for (is_deleted, expected) in [(false, STORED), (true, REFUSED)] {
        let site = Site::new();
        let key = images::image_metadata(site.image);
        let answer = site.ask_during("?include_deleted=true", key, |server, image| {
            if is_deleted {
                server.delete("ann", image).expect(204);
            }
        });
        assert_eq!(answer.header("cache-status"), expected);
        assert_eq!(answer.json()["deleted_at"].is_string(), is_deleted);
    }
}

#[test]
fn the_thumbnail_of_a_picture_of_another_shape_is_not_stored_at_the_key_of_the_old_one() {
    for (size, expected) in [((128, 96), STORED), ((48, 64), REFUSED)] {
        let site = Site::new();
        let key = images::thumbnail(site.image, 32, 24);
        let other = file(&plain(size.0, size.1, [2, 2, 2]), ImageFormat::Png);
        let answer = site.ask_during("/thumbnail?width=32&height=32", key, |server, image| {
            server.form("PUT", "ann", &format!("{image}/file"), &[("file", None, &other)]).expect(200);
        });
        assert_eq!(answer.header("cache-status"), expected, "{size:?}");
        let shown = image::load_from_memory(&answer.body).unwrap();
        assert_eq!(shown.width() > shown.height(), size.0 > size.1, "the picture is the new one");
    }
}
