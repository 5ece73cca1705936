//! How much memory work on pictures takes, of the whole process.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::Process;

const SIDE: u32 = 5000;

impl Process {
    /// The most memory that the process has had at once, in bytes.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn send(&self, path: &str, content_type: &str, body: &[u8]) -> Value {
        let request = ureq::post(format!("{}{path}", self.base)).header("content-type", content_type);
        let mut response = request.send(body).unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }
}

fn form(file: &[u8]) -> Vec<u8> {
    let head = b"--frontier\r\nContent-Disposition: form-data; name=\"file\"; filename=\"large\"\r\n\r\n";
    [head, file, b"\r\n--frontier--\r\n"].concat()
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

#[test]
fn a_large_picture_is_checked_and_shrunk_without_memory_for_all_its_pixels() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let project =
        process.send("/api/projects", "application/json", json!({"name": "P"}).to_string().as_bytes());
    let images = format!("/api/projects/{}/images", project["id"].as_str().unwrap());
    let before = process.peak();
    for (name, picture) in [
        ("JPEG", file(&RgbImage::from_pixel(SIDE, SIDE, Rgb([200, 30, 30])).into(), ImageFormat::Jpeg)),
        ("PNG", file(&RgbaImage::from_pixel(SIDE, SIDE, Rgba([200, 30, 30, 90])).into(), ImageFormat::Png)),
    ] {
        let image = process.send(&images, "multipart/form-data; boundary=frontier", &form(&picture));
        let thumbnail = format!("{}/api/images/{}/thumbnail", process.base, image["id"].as_str().unwrap());
        ureq::get(thumbnail).call().unwrap();
        let grown = process.peak() - before;
        let pixels = u64::from(SIDE * SIDE);
        assert!(grown < 3 * pixels * 8 / 10, "{name}: {grown} bytes for {pixels} pixels");
    }
}
