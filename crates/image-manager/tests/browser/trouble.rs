//! What the page says while Redis is away, and while the server is.

use crate::site::{PICTURES_ARE_SHOWN, Site};

#[test]
fn a_banner_says_that_redis_is_away_and_the_pictures_are_shown_all_the_same() {
    let mut site = Site::without_redis();
    site.tab.until(PICTURES_ARE_SHOWN);
    let banner = site.tab.until("document.querySelector('#banner .banner')?.textContent");
    assert!(banner.as_str().unwrap().starts_with("Redis is away since "), "{banner}");
    assert_eq!(site.tab.value("document.querySelector('#cache-state').textContent"), "Cache: fallback");
    assert_eq!(site.tab.value("document.querySelector('#banner').getAttribute('role')"), "status");
    site.tab.is_clean(&[]);
}

#[test]
fn a_healthy_server_has_no_banner() {
    let mut site = Site::with_samples();
    site.tab.until("document.querySelector('#cache-state').textContent === 'Cache: memory'");
    assert_eq!(site.tab.value("document.querySelector('#banner').childNodes.length"), 0);
    site.tab.is_clean(&[]);
}

#[test]
fn a_server_that_is_gone_is_said_to_be_gone() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    site.server.take().unwrap().stop();
    let banner = site.tab.until("document.querySelector('#banner .bad')?.textContent");
    assert!(banner.as_str().unwrap().contains("does not answer"), "{banner}");
    site.tab.fill("#search [name=value]", "x");
    site.tab.press("Enter");
    let message = site.tab.until("document.querySelector('#notice [role=alert]')?.textContent");
    assert!(message.as_str().unwrap().contains("Is it running?"), "{message}");
}

#[test]
fn every_error_says_what_to_do() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.value("globalThis.realFetch = fetch, 0");
    for (status, advice) in [
        (401, "Choose a viewer"),
        (403, "ask a member"),
        (404, "deleted meanwhile"),
        (408, "too slow"),
        (409, "present state"),
        (413, "smaller"),
        (421, "ALLOWED_HOSTS"),
        (500, "log has the cause"),
        (503, "Try again in a moment"),
        (507, "Free some space"),
    ] {
        // The answer of a server in that state, of which only some can be brought about here.
        tab.value(&format!(
            "globalThis.fetch = (path, options) => path.startsWith('/api/projects/')
                ? Promise.resolve(new Response(
                    JSON.stringify({{ error: {{ code: 'x', message: 'reason {status}' }} }}), {{ status: {status} }}))
                : realFetch(path, options), 0"
        ));
        tab.fill("#search [name=value]", &status.to_string());
        tab.press("Enter");
        let message = tab.until(&format!(
            "[...document.querySelectorAll('#notice [role=alert]')].map((it) => it.textContent)
                .find((it) => it.includes('reason {status}'))"
        ));
        assert!(message.as_str().unwrap().contains(advice), "{message}");
    }
    tab.is_clean(&[]);
}
