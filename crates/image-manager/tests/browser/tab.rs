//! [`Tab`]: one page in a browser, with what a person does to it and sees of it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::chromium::Chromium;

/// The longest time, in milliseconds, that a condition may take to come true, on a machine that is busy.
const PATIENCE_MS: u32 = 120_000;

/// A width and height in CSS pixels.
pub(crate) type Window = (u32, u32);

pub(crate) const DESKTOP: Window = (1280, 900);
pub(crate) const PHONE: Window = (390, 844);

/// A tab of a browser of its own.
pub(crate) struct Tab {
    browser: Chromium,
    session: String,
}

impl Tab {
    /// Opens an empty tab of the desktop's size.
    pub(crate) fn new() -> Self {
        let mut browser = Chromium::start();
        let target = browser.call(None, "Target.createTarget", &json!({ "url": "about:blank" })).unwrap();
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call(None, "Target.attachToTarget", &attached).unwrap();
        let session = session["sessionId"].as_str().unwrap().to_owned();
        let mut tab = Self { browser, session };
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab.resize(DESKTOP);
        tab
    }

    /// Loads an address, as from the address bar.
    pub(crate) fn open(&mut self, address: &str) {
        let answer = self.call("Page.navigate", &json!({ "url": address }));
        assert!(answer["errorText"].is_null(), "{answer}");
        self.browser.wait_for("Page.loadEventFired");
    }

    /// Evaluates an expression, waits for its promise, and returns its value.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true, or anything that counts as true, and returns it.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) -> Value {
        let script = format!(
            "new Promise((done, fail) => {{
                const latest = performance.now() + {PATIENCE_MS};
                const check = () => {{
                    let value;
                    try {{ value = ({expression}); }} catch {{ value = false; }}
                    if (value) return done(value instanceof Node ? true : value);
                    if (performance.now() < latest) return setTimeout(check, 10);
                    fail(new Error('it never came true; the page says: ' + document.body.innerText.slice(0, 1000)));
                }};
                check();
            }})"
        );
        self.value(&script)
    }

    /// Waits for an element, and clicks on it.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.until(&format!("{found} && !{found}.disabled"));
        self.value(&format!("{found}.click()"));
    }

    /// Waits for a button or link with this text or label in the open dialog, else on the page, and clicks on it.
    #[track_caller]
    pub(crate) fn click_on(&mut self, label: &str) {
        let found = format!(
            "[...([...document.querySelectorAll('dialog[open]')].pop() ?? document.body).querySelectorAll('button, a')]
                .find((it) => !it.disabled && it.offsetParent
                    && [it.textContent.trim(), it.getAttribute('aria-label')].includes({}))",
            json!(label)
        );
        self.until(&format!("({found}) !== undefined"));
        self.value(&format!("({found}).click()"));
    }

    /// Puts a text into a field, as typing does.
    #[track_caller]
    pub(crate) fn fill(&mut self, selector: &str, text: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.until(&found);
        self.value(&format!("{found}.focus(), {found}.select?.()"));
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Chooses an option of a list.
    #[track_caller]
    pub(crate) fn choose(&mut self, selector: &str, value: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.value(&format!(
            "{found}.value = {}, ['input', 'change'].forEach((name) =>
                {found}.dispatchEvent(new Event(name, {{ bubbles: true }})))",
            json!(value)
        ));
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("the code of {other} is not known here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Chooses files in a field, as its dialog does.
    pub(crate) fn choose_files(&mut self, selector: &str, files: &[PathBuf]) {
        let document = self.call("DOM.getDocument", &json!({}));
        let asked = json!({ "nodeId": document["root"]["nodeId"], "selector": selector });
        let field = self.call("DOM.querySelector", &asked);
        self.call("DOM.setFileInputFiles", &json!({ "nodeId": field["nodeId"], "files": files }));
    }

    /// Drags files over the middle of the window, calls `between`, and drops them.
    pub(crate) fn drop_files(&mut self, files: &[PathBuf], between: impl FnOnce(&mut Self)) {
        let data = json!({ "items": [], "files": files, "dragOperationsMask": 1 });
        let event = |kind: &str| json!({ "type": kind, "x": 600, "y": 450, "data": data });
        self.call("Input.dispatchDragEvent", &event("dragEnter"));
        self.call("Input.dispatchDragEvent", &event("dragOver"));
        between(self);
        self.call("Input.dispatchDragEvent", &event("drop"));
    }

    /// Does something that downloads a file, and returns its bytes and the name that was proposed for it.
    pub(crate) fn download(&mut self, folder: &Path, act: impl FnOnce(&mut Self)) -> (String, Vec<u8>) {
        let behaviour = json!({ "behavior": "allowAndName", "downloadPath": folder, "eventsEnabled": true });
        self.browser.call(None, "Browser.setDownloadBehavior", &behaviour).unwrap();
        act(self);
        let begun = self.browser.wait_for("Browser.downloadWillBegin");
        while self.browser.wait_for("Browser.downloadProgress")["params"]["state"] != "completed" {}
        let text = |field: &str| begun["params"][field].as_str().unwrap().to_owned();
        (text("suggestedFilename"), std::fs::read(folder.join(text("guid"))).unwrap())
    }

    /// Gives the window another size.
    pub(crate) fn resize(&mut self, (width, height): Window) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Shows everything at 200 %: half as many pixels of CSS, each twice as large.
    pub(crate) fn zoom_to_200_percent(&mut self) {
        let (width, height) = DESKTOP;
        let size =
            json!({ "width": width / 2, "height": height / 2, "deviceScaleFactor": 2, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Sets a preference of the user, such as `prefers-color-scheme`.
    pub(crate) fn prefer(&mut self, feature: &str, value: &str) {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// Writes a screenshot to `target/browser/`, and returns its path.
    pub(crate) fn screenshot(&mut self, name: &str) -> PathBuf {
        // Two frames: what was changed before is painted then.
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
        self.until("document.getAnimations().length === 0");
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("browser");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, picture).unwrap();
        path
    }

    /// Returns what a screen reader is told of the page.
    pub(crate) fn accessibility_tree(&mut self) -> Vec<Value> {
        let mut tree = self.call("Accessibility.getFullAXTree", &json!({}));
        serde_json::from_value(tree["nodes"].take()).unwrap()
    }

    /// Insists that nothing, also in an open dialog, is wider than the window.
    #[track_caller]
    pub(crate) fn has_no_horizontal_scroll(&mut self) {
        let widths = self.value(
            "[document.documentElement, ...document.querySelectorAll('dialog[open]')]
                .map((it) => [it.scrollWidth, it.clientWidth])",
        );
        for pair in widths.as_array().unwrap() {
            assert!(pair[0].as_u64() <= pair[1].as_u64(), "scroll width and width: {widths}");
        }
        let is_inside = self.value(
            "[...document.querySelectorAll('dialog[open]')]
                .every((it) => it.getBoundingClientRect().right <= document.documentElement.clientWidth)",
        );
        assert_eq!(is_inside, true, "a dialog reaches under the scroll bar");
    }

    /// Insists that there was no error of a script and no breach of the content policy, that no other host was asked for
    /// anything, and that no answer was an error but those with the `expected` statuses.
    #[track_caller]
    pub(crate) fn is_clean(&mut self, expected: &[u64]) {
        let origin = self.value("location.origin");
        let origin = origin.as_str().unwrap();
        let mut asked = 0;
        for event in self.browser.events() {
            let parameters = &event["params"];
            match event["method"].as_str().unwrap() {
                "Runtime.exceptionThrown" => panic!("{parameters}"),
                "Runtime.consoleAPICalled" => panic!("the console has an entry: {parameters}"),
                "Log.entryAdded" => {
                    let text = parameters["entry"]["text"].as_str().unwrap();
                    let status = |status: &u64| text.contains(&format!("a status of {status} "));
                    assert!(expected.iter().any(status), "{}", parameters["entry"]);
                }
                "Network.requestWillBeSent" => {
                    let address = parameters["request"]["url"].as_str().unwrap();
                    let own = [&format!("{origin}/"), &format!("blob:{origin}/"), "about:blank"];
                    assert!(own.iter().any(|own| address.starts_with(*own)), "{address}");
                    asked += 1;
                }
                _ => {}
            }
        }
        assert!(asked > 0, "no request was seen: this check would prove nothing");
    }

    #[track_caller]
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        let result = self.browser.call(Some(&self.session), method, parameters);
        result.unwrap_or_else(|error| panic!("{error}: {parameters}"))
    }
}
