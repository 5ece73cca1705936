//! The page after the first start: the samples, pages of many pictures, an empty project.

use serde_json::json;

use crate::harness::png;
use crate::site::{PICTURES_ARE_SHOWN, Site};

#[test]
fn the_samples_are_shown_at_once_and_their_badges_tell_where_they_come_from() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    let names =
        site.tab.value("[...document.querySelectorAll('#gallery .name')].map((it) => it.textContent)");
    assert_eq!(names, json!(["sunset.jpg", "ripples.png", "disc.webp", "tiles.gif"]));
    assert_eq!(site.tab.value("document.querySelector('#project-name').textContent"), "Samples");
    assert_eq!(site.tab.value("document.title"), "Samples – Image manager");
    assert_eq!(site.tab.value("document.querySelector('#count').textContent"), "4");
    let badge = site.tab.until("document.querySelector('#listing-badge .badge').textContent");
    assert!(badge.as_str().unwrap().starts_with("miss · memory · "), "{badge}");
    assert_eq!(
        site.tab.value("[...document.querySelectorAll('#gallery .badge')].map((it) => it.textContent)"),
        json!(["miss", "miss", "miss", "miss"])
    );
    site.open("/");
    site.tab.until(PICTURES_ARE_SHOWN);
    let badge = site.tab.until("document.querySelector('#listing-badge .badge').textContent");
    assert!(badge.as_str().unwrap().starts_with("hit · memory · "), "{badge}");
    site.tab.until("[...document.querySelectorAll('#gallery .badge.hit')].length === 4");
    site.tab.is_clean(&[]);
}

#[test]
fn many_pictures_are_shown_page_by_page_and_loaded_when_they_come_near() {
    let mut site = Site::empty();
    let project = site.project("Many");
    for number in 0..101_u8 {
        site.upload(&project, &format!("{number:03}.png"), &png([number, 2 * number, 255 - number]));
    }
    site.open("/");
    site.tab.until(PICTURES_ARE_SHOWN);
    assert_eq!(site.tab.value("document.querySelector('#count').textContent"), "1 to 100 of 101");
    let loaded = site.tab.value("document.querySelectorAll('#gallery img').length");
    assert!(loaded.as_u64().unwrap() < 100, "{loaded}: pictures far below the window are loaded too");
    site.tab.value("document.querySelector('#gallery li:last-child').scrollIntoView()");
    site.tab.until("document.querySelector('#gallery li:last-child img')?.complete");
    site.tab.click_on("Next page");
    site.tab.until("document.querySelector('#count').textContent === '101 to 101 of 101'");
    site.tab.until("document.activeElement.id === 'results'");
    assert_eq!(site.tab.value("document.querySelector('#gallery .name').textContent"), "100.png");
    site.tab.click_on("First page");
    site.tab.until("document.querySelectorAll('#gallery li').length === 100");
    // A page that is not there any more leads to the last one.
    site.tab.value("location.hash += '?page=7', 0");
    site.tab.until("document.querySelector('#count').textContent === '101 to 101 of 101'");
    site.tab.is_clean(&[]);
}

#[test]
fn an_empty_project_says_what_to_do() {
    let mut site = Site::empty();
    site.open("/");
    site.tab.until("document.querySelector('#empty').textContent.includes('member of no project')");
    site.tab.click_on("New project");
    site.tab.fill("#project-dialog [name=name]", "Holiday");
    site.tab.press("Enter");
    site.tab.until("document.querySelector('#project-name').textContent === 'Holiday'");
    site.tab.until("document.querySelector('#empty').textContent.includes('no pictures yet')");
    assert_eq!(site.tab.value("document.querySelector('#projects [aria-current]').textContent"), "Holiday");
    site.tab.is_clean(&[]);
}
