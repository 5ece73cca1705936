//! Uploads: chosen and dropped files, their progress, and refusals.

use crate::site::{PICTURES_ARE_SHOWN, Site, picture};

#[test]
fn chosen_files_are_uploaded_and_shown_and_a_refused_one_says_why() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    let files = [
        site.file("red.png", &picture([200, 30, 30])),
        site.file("notes.png", b"this is no picture"),
        site.file("blue.png", &picture([30, 30, 200])),
    ];
    site.tab.choose_files("#files", &files);
    site.tab.until("document.querySelector('#uploads-summary').textContent === '2 of 3 uploaded, 1 failed'");
    site.tab.until("document.querySelectorAll('#gallery li').length === 6");
    let refused = site.tab.value("document.querySelector('#upload-list .failed').textContent");
    assert!(refused.as_str().unwrap().contains("Send a whole JPEG, PNG, GIF or WebP."), "{refused}");
    site.tab.click_on("View red.png");
    site.tab.until("document.querySelector('#image-dialog[open] #image-name').textContent === 'red.png'");
    site.tab.until("document.querySelector('#image-stage img')?.naturalWidth === 640");
    site.tab.is_clean(&[415]);
}

#[test]
fn dropped_files_are_uploaded() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    let files = [site.file("dropped.png", &picture([10, 120, 60]))];
    site.tab.drop_files(&files, |tab| {
        tab.until("!document.querySelector('#drop').hidden");
    });
    site.tab.until("document.querySelector('#drop').hidden");
    site.tab.until("document.querySelector('#uploads-summary').textContent === '1 of 1 uploaded'");
    site.tab.until(
        "[...document.querySelectorAll('#gallery .name')].some((it) => it.textContent === 'dropped.png')",
    );
    site.tab.is_clean(&[]);
}

#[test]
fn a_file_over_the_limit_is_refused_with_the_limit() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    let files = [site.file("large.png", &vec![0; 2 * 1024 * 1024])];
    site.tab.choose_files("#files", &files);
    let refused = site.tab.until("document.querySelector('#upload-list .failed')?.textContent");
    assert!(refused.as_str().unwrap().contains("MAX_UPLOAD_MB"), "{refused}");
    site.tab.is_clean(&[413]);
}
