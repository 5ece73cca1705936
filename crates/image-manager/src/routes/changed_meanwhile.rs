//! Tests of images that change between the authorisation of a request and its handler.

use axum::body::Body;
use axum::extract::Request;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use cache_facade::{Cache, CacheKey, images as keys};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::{images, thumbnails};
use crate::app::App;
use crate::caching::cached;
use crate::database::{self, ListingQuery};
use crate::pictures::Size;
use crate::{Settings, seed};

/// Sends two requests as the authorisation leaves them, and returns how the cache has handled them.
async fn handled<T>(app: &App, route: MethodRouter<App>, uri: &str, key: &CacheKey, more: T) -> [String; 2]
where
    T: Clone + Send + Sync + 'static,
{
    let router = Router::new().route("/{id}", cached(app, route)).with_state(app.clone());
    let router = router.layer(Extension(key.clone())).layer(Extension(more));
    let service = TowerToHyperService::new(router);
    let mut handled = [const { String::new() }; 2];
    for handled in &mut handled {
        let answer = service.call(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.headers()["cache-status"].to_str().unwrap().clone_into(handled);
    }
    handled
}

#[tokio::test]
async fn an_image_that_was_changed_since_it_was_authorised_is_not_stored_at_its_old_key() {
    const STORED: [&str; 2] = ["cache-http; fwd=miss; stored", "cache-http; hit"];
    const REFUSED: [&str; 2] = ["cache-http; fwd=miss; detail=no-store", "cache-http; fwd=miss"];
    let directory = tempfile::tempdir().unwrap();
    let settings =
        Settings { data_directory: directory.path().to_owned(), ..Settings::read(|_| None).unwrap() };
    let app = App::open(settings, Cache::memory()).unwrap();
    Box::pin(seed(&app)).await.unwrap();
    let all = ListingQuery { skip: 0, limit: 9, include_deleted: false, deleted_only: false, search: None };
    let samples = app.database().read(move |db| {
        let project = database::projects_of(db, "demo")?.remove(0).id;
        database::images_of(db, project, &all)
    });
    let image = samples.await.unwrap().items.remove(0);
    let path = format!("/{}", image.id);

    let bounds = Size::new(50, 50);
    let fitted = Size::new(image.width, image.height).fitted(bounds);
    let other = Size::new(fitted.height + 1, fitted.width + 1);
    for (size, expected) in [(fitted, STORED), (other, REFUSED)] {
        let wanted = thumbnails::Wanted { bounds, size };
        let key = keys::thumbnail(image.id, size.width, size.height);
        assert_eq!(handled(&app, get(thumbnails::view), &path, &key, wanted).await, expected);
    }

    let key = keys::image_metadata(image.id);
    let path = format!("{path}?include_deleted=true");
    assert_eq!(handled(&app, get(images::view), &path, &key, ()).await, STORED);
    app.database().put(move |db| database::delete_image(db, image.id)).await.unwrap();
    let _ = app.cache().invalidate(&keys::image_group(image.id)).await.unwrap();
    assert_eq!(handled(&app, get(images::view), &path, &key, ()).await, REFUSED);
}
