//! Names and metadata that look like markup, are long, or are written from right to left: they are text, and fit.

use serde_json::json;

use crate::harness::png;
use crate::site::{DEMO, PICTURES_ARE_SHOWN, Site};
use crate::tab::{DESKTOP, PHONE};

pub(crate) const MARKUP: &str = "<img src=x onerror=alert(1)><script>alert(2)";
pub(crate) const RIGHT_TO_LEFT: &str = "صورة جميلة من العطلة.png";

/// Makes a project with such names, and opens it.
pub(crate) fn open(site: &mut Site) {
    let project = site.project(&format!("{MARKUP} {}", "long name ".repeat(15)));
    let names = [format!("{MARKUP}.png"), "L".repeat(200), RIGHT_TO_LEFT.to_owned(), "写真".repeat(90)];
    for (colour, name) in (0..).zip(&names) {
        let image = site.upload(&project, name, &png([60 * colour, 120, 200]));
        let metadata = json!({ MARKUP: MARKUP, "long": "m".repeat(2000), RIGHT_TO_LEFT: [RIGHT_TO_LEFT] });
        site.put(&format!("/api/images/{image}/metadata"), &metadata);
    }
    let members = json!({ "members": [DEMO, MARKUP, "u".repeat(200), RIGHT_TO_LEFT] });
    site.put(&format!("/api/projects/{project}/members"), &members);
    site.open("/");
    site.tab.until(PICTURES_ARE_SHOWN);
}

#[test]
fn names_of_all_kinds_stay_text_and_fit_into_the_window() {
    let mut site = Site::empty();
    open(&mut site);
    let tab = &mut site.tab;
    let is_marked = "[...document.querySelectorAll('script, img, b')].every((it) =>
        it.matches('script[src=\"/page/main.js\"]') || it.src.startsWith('blob:') || it.src.endsWith('/page/icon.svg'))";
    assert_eq!(
        tab.value("[...document.querySelectorAll('#gallery .name')].map((it) => it.textContent)[0]"),
        json!(format!("{MARKUP}.png"))
    );
    for window in [DESKTOP, PHONE] {
        tab.resize(window);
        tab.has_no_horizontal_scroll();
    }
    for number in 1..=4 {
        tab.click(&format!("#gallery li:nth-child({number}) a"));
        tab.until("document.querySelectorAll('#metadata .line').length === 3");
        tab.until("document.querySelector('#image-stage img')?.complete");
        assert_eq!(tab.value(is_marked), true);
        for window in [DESKTOP, PHONE] {
            tab.resize(window);
            tab.has_no_horizontal_scroll();
        }
        tab.click_on("Close");
        tab.until("!document.querySelector('dialog[open]')");
    }
    assert_eq!(
        tab.value("getComputedStyle(document.querySelectorAll('#gallery .name')[2]).direction"),
        "rtl",
        "{RIGHT_TO_LEFT}"
    );
    tab.click_on("Members");
    tab.until("document.querySelectorAll('#member-list li').length === 4");
    tab.has_no_horizontal_scroll();
    tab.click_on("Close");
    tab.click("#gallery li:nth-child(1) a");
    tab.click_on("Delete");
    tab.until(&format!(
        "document.querySelector('#notice p')?.textContent === 'Deleted ' + {}",
        json!(format!("{MARKUP}.png"))
    ));
    tab.has_no_horizontal_scroll();
    tab.click_on("Delete project");
    tab.until("document.querySelector('#confirm-dialog[open]')");
    tab.has_no_horizontal_scroll();
    assert_eq!(tab.value(is_marked), true);
    tab.is_clean(&[]);
}

#[test]
fn markup_that_reaches_the_document_by_mistake_is_refused_by_the_browser() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    let refused = site.tab.value(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'taken'; } catch (error) { return error.name; } })()",
    );
    assert_eq!(refused, "TypeError");
    let ran = site.tab.value(
        "new Promise((done) => {
            addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
            const script = document.createElement('a');
            script.setAttribute('style', 'color: red');
            document.body.append(script);
        })",
    );
    assert_eq!(ran, "style-src-attr");
}
