//! Deletion, restoration and replacement of images; deletion of projects.

use crate::site::{PICTURES_ARE_SHOWN, Site, picture};
use crate::tab::Tab;

/// Waits until the gallery has this many pictures.
fn has(tab: &mut Tab, count: usize) {
    tab.until(&format!(
        "document.querySelectorAll('#gallery li').length === {count} && !document.querySelector('#gallery[aria-busy]')"
    ));
}

#[test]
fn a_deleted_image_is_restored_by_the_message_or_from_the_list_of_deleted_ones() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    for restores_at_once in [true, false] {
        tab.click("#gallery li:nth-child(2) a");
        tab.click_on("Delete");
        tab.until("!document.querySelector('dialog[open]')");
        has(tab, 3);
        tab.until("document.querySelector('#notice').textContent.startsWith('Deleted ripples.png')");
        if restores_at_once {
            tab.click_on("Restore");
        } else {
            tab.choose("#search [name=show]", "deleted");
            has(tab, 1);
            tab.click_on("Restore ripples.png");
            has(tab, 0);
            tab.until("document.querySelector('#empty').textContent.includes('No picture is deleted')");
            tab.choose("#search [name=show]", "");
        }
        has(tab, 4);
        tab.until(PICTURES_ARE_SHOWN);
    }
    tab.is_clean(&[]);
}

#[test]
fn a_deleted_image_can_be_looked_at_and_restored_in_its_view() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.click("#gallery li:nth-child(1) a");
    tab.click_on("Delete");
    has(tab, 3);
    tab.choose("#search [name=show]", "all");
    has(tab, 4);
    tab.click("#gallery .deleted a");
    tab.until("document.querySelector('#image-facts').textContent.includes('Deleted')");
    tab.until("document.querySelector('#metadata').textContent.includes('Restore the image')");
    tab.click_on("Restore");
    tab.until("document.querySelector('#image-stage img')?.naturalWidth > 0");
    tab.until("document.querySelector('#gallery .deleted') === null");
    tab.is_clean(&[]);
}

#[test]
fn a_replaced_picture_is_shown_at_once() {
    let mut site = Site::with_samples();
    let file = site.file("new.png", &picture([1, 2, 3]));
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.click("#gallery li:nth-child(4) a");
    tab.until("document.querySelector('#image-stage img')?.naturalWidth === 320");
    tab.choose_files("#replacement", &[file]);
    tab.until("document.querySelector('#image-stage img')?.naturalWidth === 640");
    tab.until("document.querySelector('#image-name').textContent === 'new.png'");
    tab.until("document.querySelector('#gallery li:nth-child(4) .name').textContent === 'new.png'");
    tab.is_clean(&[]);
}

#[test]
fn the_original_is_downloaded_under_its_name() {
    let mut site = Site::empty();
    let project = site.project("One");
    let original = picture([9, 8, 7]);
    site.upload(&project, "über allem.png", &original);
    let folder = site.directory.path().join("downloads");
    std::fs::create_dir(&folder).unwrap();
    site.open("/");
    site.tab.click("#gallery li:nth-child(1) a");
    let (name, file) = site.tab.download(&folder, |tab| tab.click_on("Download original"));
    assert_eq!(name, "über allem.png");
    assert!(file == original, "{} bytes of {}", file.len(), original.len());
    site.tab.is_clean(&[]);
}

#[test]
fn a_project_is_deleted_after_a_question() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.click_on("Delete project");
    tab.until("document.querySelector('#confirm-dialog[open] #confirm-name').textContent === 'Samples'");
    tab.click_on("Cancel");
    tab.until("!document.querySelector('dialog[open]')");
    tab.click_on("Delete project");
    tab.click_on("Delete");
    tab.until("document.querySelector('#project-name').textContent === 'No project yet'");
    tab.until("document.querySelector('#notice').textContent.startsWith('Deleted the project Samples')");
    assert_eq!(tab.value("document.querySelectorAll('#gallery li').length"), 0);
    tab.is_clean(&[]);
}
