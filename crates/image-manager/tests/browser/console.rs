//! The console of the cache, which is one click away from the page.

use crate::site::{PICTURES_ARE_SHOWN, Site};
use crate::tab::{DESKTOP, PHONE};

#[test]
fn the_console_is_one_click_away_and_each_of_its_buttons_works() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    site.tab.click("#console:not([hidden])");
    site.tab.until(
        "document.title === 'Cache console' && document.querySelector('#tiles').childElementCount > 3",
    );
    site.tab.until("document.querySelector('#families-body').textContent.includes('thumbnail')");
    assert_eq!(site.tab.value("location.pathname"), "/cache/index.html");

    site.tab.click_on("Run the checks");
    site.tab.until("document.querySelector('#doctor-answer').textContent.includes('Nothing is wrong')");

    site.tab.fill("#key-input", "project_images:1");
    site.tab.click_on("Explain");
    site.tab.until("document.querySelector('#key-answer').textContent.includes('not in the cache')");

    // Counted, kept at first, then cleared; the event is shown as it happens.
    site.tab.click("#clear-form [value=pattern]");
    site.tab.fill("#clear-input", "thumbnail");
    site.tab.click_on("Count");
    site.tab
        .until("document.querySelector('#confirm[open] #confirm-title').textContent.includes('4 entries')");
    site.tab.click_on("Keep them");
    site.tab.until("document.querySelector('#clear-answer').textContent.includes('Nothing was cleared')");
    site.tab.click_on("Count");
    site.tab.until("document.querySelector('#confirm[open]')");
    site.tab.click("#confirm-yes");
    site.tab.until("document.querySelector('#clear-answer').textContent.includes('4 entries removed')");
    site.tab.until("document.querySelector('#events').textContent.includes('thumbnail')");
    site.tab.click_on("Count");
    site.tab.click_on("Clear it all the same");
    site.tab.until("document.querySelector('#clear-answer').textContent.includes('0 entries removed')");
    site.tab.click("#pause");
    site.tab.until("document.querySelector('#pause').getAttribute('aria-pressed') === 'true'");

    for (name, window) in [("console", DESKTOP), ("console-phone", PHONE)] {
        site.tab.resize(window);
        site.tab.has_no_horizontal_scroll();
        site.tab.screenshot(name);
    }
    site.tab.is_clean(&[]);

    site.open("/");
    site.tab.until(PICTURES_ARE_SHOWN);
    site.tab.until("[...document.querySelectorAll('#gallery .badge.miss')].length === 4");
}
