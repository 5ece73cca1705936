//! The page without a mouse, on a phone, enlarged, in the dark, and with little motion.

use serde_json::{Value, json};

use crate::site::{PICTURES_ARE_SHOWN, Site};
use crate::tab::{PHONE, Tab};

/// The element with the focus: its id, else its text or label.
fn focus(tab: &mut Tab) -> Value {
    tab.value(
        "(() => { const it = document.activeElement;
            return it.id || it.getAttribute('aria-label') || it.name || it.textContent.trim(); })()",
    )
}

#[test]
fn everything_is_reached_by_keys_alone_and_the_focus_is_seen() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.until("!document.querySelector('#console').hidden");
    let mut reached = Vec::new();
    for _ in 0..15 {
        tab.press("Tab");
        let is_seen = tab.value(
            "(() => { const style = getComputedStyle(document.activeElement);
                return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; })()",
        );
        let focused = focus(tab);
        assert_eq!(is_seen, true, "{focused}");
        reached.push(focused);
    }
    let controls = [
        "skip",
        "console",
        "viewer",
        "Samples",
        "new-project",
        "choose-files",
        "members",
        "delete-project",
        "show",
        "field",
        "value",
        "Search",
        "search-reset",
    ];
    assert_eq!(reached[..controls.len()], controls.map(Value::from));
    let picture = reached[13].as_str().unwrap();
    assert!(picture.contains("sunset.jpg"), "{picture}");
    // Enter opens the second picture, the focus stays inside its view, and Escape leads back.
    tab.press("Enter");
    tab.until("document.querySelector('#image-dialog[open] #image-name').textContent === 'ripples.png'");
    tab.until("document.querySelectorAll('#analysis-kinds button').length === 3");
    for _ in 0..30 {
        tab.press("Tab");
        let inside = "document.activeElement === document.body
            || document.activeElement.closest('#image-dialog') !== null";
        assert_eq!(tab.value(inside), true);
    }
    tab.press("Escape");
    tab.until("!document.querySelector('dialog[open]')");
    tab.until("document.activeElement.closest('#gallery') !== null");
    assert!(focus(tab).as_str().unwrap().contains("ripples.png"));
    // The first control leads past the others.
    tab.value("document.activeElement.blur(), document.querySelector('#skip').focus()");
    tab.press("Enter");
    tab.until("document.activeElement.id === 'results'");
    tab.is_clean(&[]);
}

#[test]
fn every_control_has_a_name_and_results_are_announced() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    tab.click("#gallery li:nth-child(1) a");
    tab.click_on("Histogram");
    tab.until("document.querySelector('.analysis')");
    tab.click_on("Add a line");
    let tree = tab.accessibility_tree();
    let text = |node: &Value, part: &str| node[part]["value"].as_str().unwrap_or_default().to_owned();
    let mut named = 0;
    for node in tree.iter().filter(|node| node["ignored"] == false) {
        let role = text(node, "role");
        if ["button", "link", "textbox", "searchbox", "combobox", "image", "dialog"].contains(&role.as_str())
        {
            assert!(!text(node, "name").is_empty(), "{node}");
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
    for live in ["#count", "#uploads-summary", "#banner"] {
        let role = tab.value(&format!("document.querySelector({}).getAttribute('role')", json!(live)));
        assert_eq!(role, "status", "{live}");
    }
    let regions =
        tab.value("[...document.querySelectorAll('.notice')].every((it) => it.ariaLive === 'polite')");
    assert_eq!(regions, true);
    tab.is_clean(&[]);
}

#[test]
fn a_phone_and_a_window_at_200_percent_scroll_in_one_direction_only() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    for is_phone in [true, false] {
        if is_phone {
            tab.resize(PHONE);
        } else {
            tab.zoom_to_200_percent();
        }
        tab.until(PICTURES_ARE_SHOWN);
        tab.has_no_horizontal_scroll();
        tab.click("#projects-toggle");
        tab.until("document.querySelector('#projects a').offsetParent !== null");
        tab.has_no_horizontal_scroll();
        tab.click("#projects-toggle");
        for opener in ["#viewer", "#new-project", "#members", "#delete-project"] {
            tab.click(opener);
            tab.until("document.querySelector('dialog[open]')");
            tab.has_no_horizontal_scroll();
            tab.press("Escape");
            tab.until("!document.querySelector('dialog[open]')");
        }
        tab.click("#gallery li:nth-child(1) a");
        tab.click_on("Add a line");
        tab.until("document.querySelector('#image-stage img')?.complete");
        tab.has_no_horizontal_scroll();
        tab.click_on("Discard");
        tab.click_on("Close");
        tab.until("!document.querySelector('dialog[open]')");
    }
    tab.is_clean(&[]);
}

#[test]
fn colours_follow_the_preference_and_have_contrast_and_nothing_moves_for_those_that_want_it_so() {
    let mut site = Site::with_samples();
    let tab = &mut site.tab;
    tab.until(PICTURES_ARE_SHOWN);
    for scheme in ["light", "dark"] {
        tab.prefer("prefers-color-scheme", scheme);
        let contrasts = tab.value(CONTRASTS);
        for contrast in contrasts.as_array().unwrap() {
            assert!(contrast[1].as_f64().unwrap() >= 4.5, "{scheme}: {contrasts}");
        }
        let ground = tab.value("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(246, 247, 248)", scheme == "light", "{ground}");
    }
    tab.prefer("prefers-reduced-motion", "reduce");
    tab.click("#viewer");
    let motion = tab.value("getComputedStyle(document.querySelector('#viewer-dialog')).animationName");
    assert_eq!(motion, "none");
    tab.is_clean(&[]);
}

/// Pairs of colours that stand on each other, each with its contrast (WCAG 2.2, 1.4.3).
const CONTRASTS: &str = "(() => {
    const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const style = getComputedStyle(document.documentElement);
    const luminance = (name) => {
        paint.fillStyle = style.getPropertyValue(name).trim();
        paint.fillRect(0, 0, 1, 1);
        const [red, green, blue] = [...paint.getImageData(0, 0, 1, 1).data].map((value) => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    return [['--text', '--ground'], ['--text', '--surface'], ['--quiet', '--ground'], ['--quiet', '--surface'],
        ['--quiet', '--frame'], ['--accent', '--surface'], ['--on-accent', '--accent'], ['--text', '--selected'],
        ['--danger', '--surface'], ['--text', '--warning-ground'], ['--text', '--bad-ground']]
        .map((pair) => {
            const [one, other] = pair.map(luminance);
            return [pair.join(' on '), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
        });
})()";
