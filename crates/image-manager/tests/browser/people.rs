//! Viewers and members.

use crate::site::{DEMO, PICTURES_ARE_SHOWN, Site};

/// Chooses a viewer; none for an empty name.
fn choose_viewer(site: &mut Site, name: &str) {
    site.tab.click("#viewer");
    site.tab.fill("#viewer-dialog [name=viewer]", name);
    if name.is_empty() {
        site.tab.value("document.querySelector('#viewer-dialog [name=viewer]').value = ''");
    }
    site.tab.click_on("Use");
    site.tab.until("!document.querySelector('dialog[open]')");
}

#[test]
fn a_member_that_was_added_sees_the_project_and_its_pictures_and_a_removed_one_does_not() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    let address = site.tab.value("location.pathname + location.hash");
    choose_viewer(&mut site, "Zoë 写");
    site.tab.until("document.querySelector('#project-name').textContent === 'No project yet'");
    assert_eq!(site.tab.value("document.querySelector('#viewer').textContent"), "Viewer: Zoë 写");
    site.open("/favicon.ico");
    site.open(address.as_str().unwrap());
    site.tab.until("document.querySelector('#notice [role=alert]')?.textContent.includes('ask a member')");
    choose_viewer(&mut site, "");
    site.tab.until(PICTURES_ARE_SHOWN);
    site.tab.click_on("Members");
    site.tab.fill("#member-form [name=member]", "Zoë 写");
    site.tab.press("Enter");
    site.tab.until("document.querySelectorAll('#member-list li').length === 2");
    site.tab.click_on("Close");
    choose_viewer(&mut site, "Zoë 写");
    site.tab.until("document.querySelector('#project-name').textContent === 'Samples'");
    site.tab.until(PICTURES_ARE_SHOWN);
    assert_eq!(site.tab.value("document.querySelectorAll('#gallery li').length"), 4);
    site.tab.click_on("Members");
    site.tab.click_on("Remove demo");
    site.tab.until("document.querySelectorAll('#member-list li').length === 1");
    site.tab.click_on("Remove Zoë 写");
    site.tab
        .until("document.querySelector('#members-dialog .notice').textContent.includes('without members')");
    site.tab.click_on("Close");
    choose_viewer(&mut site, "");
    site.tab.until("document.querySelector('#project-name').textContent === 'No project yet'");
    let projects = site.server().get(DEMO, "/api/projects").json();
    assert_eq!(projects["items"].as_array().unwrap().len(), 0);
    site.tab.is_clean(&[403, 404, 422]);
}

#[test]
fn the_pictures_of_a_viewer_are_gone_at_once_when_another_one_is_chosen() {
    let mut site = Site::with_samples();
    site.tab.until(PICTURES_ARE_SHOWN);
    site.tab.click("#viewer");
    site.tab.fill("#viewer-dialog [name=viewer]", "Zoë");
    // The submission and the look are one script: no answer of the server can come between them.
    let shown = site.tab.value(
        "document.querySelector('#viewer-dialog form').requestSubmit(),
         document.querySelectorAll('#gallery li').length",
    );
    assert_eq!(shown, 0);
    site.tab.until("document.querySelector('#project-name').textContent === 'No project yet'");
    site.tab.is_clean(&[]);
}
