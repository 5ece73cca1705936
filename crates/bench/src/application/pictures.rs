//! Pictures as a camera makes them: JPEG of 12 megapixels.

use std::io::Cursor;

use fastrand::Rng;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

use crate::Outcome;

const WIDTH: u32 = 4000;
const HEIGHT: u32 = 3000;
const QUALITY: u8 = 85;
/// How many differ.
const COUNT: u32 = 4;

/// Some pictures.
pub(super) fn some() -> Outcome<Vec<Vec<u8>>> {
    (0..COUNT).map(picture).collect()
}

/// Waves of light with the noise of a sensor.
fn picture(number: u32) -> Outcome<Vec<u8>> {
    let mut random = Rng::with_seed(u64::from(number));
    let pixels = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let noise = random.u32(..16);
        let light = |across: u32, down: u32| {
            let wave = (x / across + y / down + number * 40) % 400;
            (wave.min(400 - wave) + noise).min(255) as u8
        };
        Rgb([light(7, 11), light(13, 5), light(9, 17)])
    });
    let mut file = Cursor::new(Vec::new());
    pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut file, QUALITY))?;
    Ok(file.into_inner())
}
