//! Screenshots to be looked at, in `target/browser/`: no check by a program sees what is ugly.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::png;
use crate::hostile_names;
use crate::site::{DEMO, PICTURES_ARE_SHOWN, Site};
use crate::tab::{DESKTOP, PHONE, Tab, Window};

/// The picture of README.
const README: Window = (1200, 530);

/// One screenshot each of the desktop, light and dark, and of a phone.
fn of_all_windows(tab: &mut Tab, name: &str) {
    for (window, scheme, suffix) in
        [(DESKTOP, "light", "1280"), (DESKTOP, "dark", "1280-dark"), (PHONE, "light", "390")]
    {
        tab.resize(window);
        tab.prefer("prefers-color-scheme", scheme);
        tab.screenshot(&format!("{name}-{suffix}"));
    }
    tab.resize(DESKTOP);
}

#[test]
fn of_the_samples_and_of_the_view_of_an_image() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    site.open("/");
    let tab = &mut site.tab;
    tab.until("document.querySelectorAll('#gallery .badge.hit').length === 4");
    of_all_windows(tab, "samples");
    tab.zoom_to_200_percent();
    tab.screenshot("samples-zoom");
    tab.resize(README);
    let picture = tab.screenshot("page");
    assert!(std::fs::metadata(picture).unwrap().len() < 150 * 1024, "the picture of README is too large");
    tab.resize(DESKTOP);
    tab.click("#gallery li:nth-child(1) a");
    for label in ["Histogram", "Mean colour", "Sharpness"] {
        tab.click_on(label);
    }
    tab.until("document.querySelectorAll('.analysis').length === 3");
    tab.until("document.querySelector('#image-stage img')?.complete");
    tab.click_on("Add a line");
    of_all_windows(tab, "image");
    tab.resize(PHONE);
    tab.value("document.querySelector('#image-dialog').scrollTo(0, 600)");
    tab.screenshot("image-390-below");
}

#[test]
fn of_an_empty_project_and_a_thousand_images() {
    let mut site = Site::empty();
    let project = site.project("A thousand");
    let (next, server) = (AtomicUsize::new(0), site.server());
    let path = format!("/api/projects/{project}/images");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 1000 {
                        return;
                    }
                    let shade = |step: usize| u8::try_from(number * step % 256).unwrap();
                    let file = png([shade(7), shade(3), shade(11)]);
                    let name = format!("picture {number:04}.png");
                    server.form("POST", DEMO, &path, &[("file", Some(&name), &file)]).expect(201);
                }
            });
        }
    });
    site.project("Empty");
    site.open("/");
    site.tab.until(PICTURES_ARE_SHOWN);
    of_all_windows(&mut site.tab, "thousand");
    site.tab.value("scrollTo(0, document.body.scrollHeight)");
    site.tab.until(PICTURES_ARE_SHOWN);
    site.tab.screenshot("thousand-1280-end");
    site.tab.click("#projects li:nth-child(2) a");
    site.tab.until("document.querySelector('#empty').textContent.includes('no pictures yet')");
    of_all_windows(&mut site.tab, "empty");
}

#[test]
fn of_hostile_names() {
    let mut site = Site::empty();
    hostile_names::open(&mut site);
    of_all_windows(&mut site.tab, "hostile");
    site.tab.click("#gallery li:nth-child(1) a");
    site.tab.until("document.querySelector('#image-stage img')?.complete");
    of_all_windows(&mut site.tab, "hostile-image");
    site.tab.click_on("Close");
    site.tab.click_on("Members");
    of_all_windows(&mut site.tab, "hostile-members");
}

#[test]
fn of_trouble() {
    let mut site = Site::without_redis();
    let refused = site.file("notes.png", b"this is no picture");
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.until("document.querySelector('#banner .banner')");
    tab.choose_files("#files", &[refused]);
    tab.until("document.querySelector('#upload-list .failed')");
    tab.click("#gallery li:nth-child(2) a");
    tab.click_on("Delete");
    tab.until("document.querySelectorAll('#gallery li').length === 3");
    tab.until("document.querySelector('#notice p')");
    of_all_windows(tab, "trouble");
}

#[test]
fn of_a_full_disk() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    // The answer of a server whose disk is full, which cannot be brought about here.
    tab.value(
        "globalThis.realFetch = fetch, globalThis.fetch = (path, options) => options?.method === 'DELETE'
            ? Promise.resolve(new Response(JSON.stringify(
                { error: { code: 'disk_full', message: 'the disk is full; nothing was changed' } }), { status: 507 }))
            : realFetch(path, options), 0",
    );
    tab.click("#gallery li:nth-child(2) a");
    tab.until("document.querySelector('#image-stage img')?.complete");
    tab.click_on("Delete");
    tab.until("document.querySelector('#image-dialog .notice').textContent.includes('Free some space')");
    of_all_windows(tab, "full-disk");
}
