//! Analyses of a picture's pixels.

use image::{DynamicImage, GenericImageView, GrayImage, Pixel, Rgb};
use serde::Serialize;
use serde_json::{Value, json};

/// A kind of analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AnalysisKind {
    Histogram,
    MeanColour,
    Sharpness,
}

impl AnalysisKind {
    pub(crate) const ALL: [Self; 3] = [Self::Histogram, Self::MeanColour, Self::Sharpness];

    /// Returns the name in requests and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Histogram => "histogram",
            Self::MeanColour => "mean_colour",
            Self::Sharpness => "sharpness",
        }
    }

    /// Returns the kind of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The results of an analysis. Transparency is ignored: a pixel counts with its colour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Findings {
    Histogram(Histogram),
    MeanColour(MeanColour),
    Sharpness(Sharpness),
}

/// Counts of the pixels with each of the 256 values of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Histogram {
    red: Vec<u32>,
    green: Vec<u32>,
    blue: Vec<u32>,
    luminance: Vec<u32>,
}

/// The mean of each channel, 0 to 255.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MeanColour {
    red: f64,
    green: f64,
    blue: f64,
    hex: String,
}

/// The variance of the Laplacian of the luminance: the higher, the sharper (Pech-Pacheco et al., 2000).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Sharpness {
    variance_of_laplacian: f64,
}

impl Findings {
    /// Returns the results as they are answered.
    pub(crate) fn results(&self) -> Value {
        match self {
            Self::Histogram(found) => json!(found),
            Self::MeanColour(found) => json!(found),
            Self::Sharpness(found) => json!(found),
        }
    }
}

/// Computes the results from all pixels.
pub(super) fn analyse(kind: AnalysisKind, pixels: DynamicImage) -> Findings {
    match kind {
        AnalysisKind::Histogram => Findings::Histogram(histogram(&pixels)),
        AnalysisKind::MeanColour => Findings::MeanColour(mean_colour(&pixels)),
        AnalysisKind::Sharpness => Findings::Sharpness(sharpness(&pixels.into_luma8())),
    }
}

/// Returns the colours of all pixels, one by one: a copy of a large picture would take as much memory again.
fn colours(pixels: &DynamicImage) -> impl Iterator<Item = Rgb<u8>> {
    pixels.pixels().map(|(_, _, pixel)| pixel.to_rgb())
}

fn histogram(pixels: &DynamicImage) -> Histogram {
    let mut counts = [const { [0; 256] }; 4];
    for colour in colours(pixels) {
        let [red, green, blue] = colour.0;
        for (counts, value) in counts.iter_mut().zip([red, green, blue, colour.to_luma().0[0]]) {
            if let Some(count) = counts.get_mut(usize::from(value)) {
                *count += 1;
            }
        }
    }
    let [red, green, blue, luminance] = counts.map(Vec::from);
    Histogram { red, green, blue, luminance }
}

fn mean_colour(pixels: &DynamicImage) -> MeanColour {
    let mut sums = [0_u64; 3];
    for colour in colours(pixels) {
        for (sum, value) in sums.iter_mut().zip(colour.0) {
            *sum += u64::from(value);
        }
    }
    let pixels = f64::from(pixels.width()) * f64::from(pixels.height());
    let [red, green, blue] = sums.map(|sum| sum as f64 / pixels);
    let hex = format!("#{:02x}{:02x}{:02x}", nearest(red), nearest(green), nearest(blue));
    MeanColour { red, green, blue, hex }
}

fn sharpness(luminance: &GrayImage) -> Sharpness {
    let width = luminance.width() as usize;
    let rows: Vec<&[u8]> = luminance.as_raw().chunks_exact(width.max(1)).collect();
    // The sums of at most 1e8 values up to 1,020 and their squares fit.
    let (mut count, mut sum, mut squares) = (0_u64, 0_i64, 0_i64);
    for neighbours in rows.windows(3) {
        let &[above, row, below] = neighbours else { continue };
        for ((above, here), below) in above.windows(3).zip(row.windows(3)).zip(below.windows(3)) {
            let (&[_, up, _], &[left, centre, right], &[_, down, _]) = (above, here, below) else { continue };
            let around = i64::from(up) + i64::from(down) + i64::from(left) + i64::from(right);
            let laplacian = around - 4 * i64::from(centre);
            count += 1;
            sum += laplacian;
            squares += laplacian * laplacian;
        }
    }
    if count == 0 {
        return Sharpness { variance_of_laplacian: 0.0 };
    }
    let mean = sum as f64 / count as f64;
    Sharpness { variance_of_laplacian: squares as f64 / count as f64 - mean * mean }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of bytes rounds to a byte"
)]
fn nearest(mean: f64) -> u8 {
    mean.round() as u8
}

#[cfg(test)]
mod tests {
    use image::{Luma, RgbImage};

    use super::*;

    fn found(kind: AnalysisKind, pixels: impl Into<DynamicImage>) -> Value {
        analyse(kind, pixels.into()).results()
    }

    #[test]
    fn every_kind_has_one_name() {
        for kind in AnalysisKind::ALL {
            assert_eq!(AnalysisKind::from_name(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert_eq!(AnalysisKind::from_name("Histogram"), None);
    }

    #[test]
    fn a_histogram_counts_every_pixel_once_in_each_channel() {
        let mut pixels = RgbImage::from_pixel(10, 3, Rgb([255, 0, 7]));
        pixels.put_pixel(0, 0, Rgb([1, 1, 1]));
        let found = found(AnalysisKind::Histogram, pixels);
        assert_eq!((&found["red"][255], &found["red"][1]), (&json!(29), &json!(1)));
        assert_eq!((&found["green"][0], &found["blue"][7]), (&json!(29), &json!(29)));
        for channel in ["red", "green", "blue", "luminance"] {
            let counts = found[channel].as_array().unwrap();
            assert_eq!(counts.len(), 256);
            assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 30);
        }
    }

    #[test]
    fn the_mean_colour_is_the_mean_of_each_channel() {
        let pixels =
            RgbImage::from_fn(2, 2, |x, _| if x == 0 { Rgb([0, 100, 3]) } else { Rgb([255, 200, 3]) });
        let expected = json!({"red": 127.5, "green": 150.0, "blue": 3.0, "hex": "#809603"});
        assert_eq!(found(AnalysisKind::MeanColour, pixels), expected);
    }

    #[test]
    fn sharpness_is_the_variance_of_the_laplacian() {
        let sharpness = |pixels: GrayImage| {
            found(AnalysisKind::Sharpness, pixels)["variance_of_laplacian"].as_f64().unwrap()
        };
        assert_eq!(sharpness(GrayImage::from_pixel(9, 9, Luma([80]))).to_bits(), 0.0_f64.to_bits());
        assert_eq!(sharpness(GrayImage::from_pixel(2, 2, Luma([80]))).to_bits(), 0.0_f64.to_bits());
        // One bright point: Laplacians -40, 4 times 10, and 4 times 0 in the nine inner pixels.
        let mut point = GrayImage::from_pixel(5, 5, Luma([0]));
        point.put_pixel(2, 2, Luma([10]));
        assert!((sharpness(point) - 2000.0 / 9.0).abs() < 1e-9);
        // Blurred squares are less sharp.
        let squares =
            GrayImage::from_fn(64, 64, |x, y| Luma([if (x / 8 + y / 8) % 2 == 0 { 0 } else { 255 }]));
        let blurred = image::imageops::blur(&squares, 2.0);
        assert!(sharpness(squares) > 10.0 * sharpness(blurred));
    }
}
