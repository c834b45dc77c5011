//! Decoding, scaling and encoding.

use std::io::Cursor;

use bytes::Bytes;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use thalweg_core::cast::described;
use thalweg_core::{Cell, RowError, Value};

use crate::builtin::args::{fail, int};

/// The largest side that is decoded or made: a rule must not be able to take all memory with one message.
const MAX_SIDE: u32 = 16_384;
const MAX_BYTES: u64 = 512 << 20;

pub(super) fn resize(args: &[Value]) -> Result<Value, RowError> {
    let (format, image) = decode(&args[0])?;
    let (width, height) = fill_in((side(&args[1])?, side(&args[2])?), &image);
    let is_raw = match args.get(3) {
        None => false,
        Some(Value::Bool(raw)) => *raw,
        Some(other) => return fail(format!("raw must be a boolean, not {}", described(&Cell::of(other)))),
    };
    let sized = match (width, height) == (image.width(), image.height()) {
        true => image,
        false => image.resize_exact(width, height, FilterType::Triangle),
    };
    if is_raw { Ok(Value::Bytes(sized.into_rgb8().into_raw().into())) } else { encode(sized, format) }
}

pub(super) fn thumbnail(args: &[Value]) -> Result<Value, RowError> {
    let (format, image) = decode(&args[0])?;
    let (width, height) = (side(&args[1])?, side(&args[2])?);
    if format == ImageFormat::Gif {
        return fail("gif image type is not currently supported");
    }
    let fits = |side: u32, most: u32| side <= most;
    if width == 0 || height == 0 || fits(image.width(), width) && fits(image.height(), height) {
        return encode(image, format);
    }
    encode(image.resize(width, height, FilterType::Triangle), format)
}

/// A side that is 0 follows from the other; both 0 is the size as it is.
fn fill_in(wanted: (u32, u32), image: &DynamicImage) -> (u32, u32) {
    let (width, height) = (u64::from(image.width()), u64::from(image.height()));
    let scaled = |side: u32, of: u64, to: u64| {
        let scaled = (u64::from(side) * to + of / 2) / of.max(1);
        scaled.clamp(1, u64::from(MAX_SIDE)) as u32
    };
    match wanted {
        (0, 0) => (image.width(), image.height()),
        (0, tall) => (scaled(tall, height, width), tall),
        (wide, 0) => (wide, scaled(wide, width, height)),
        both => both,
    }
}

fn side(value: &Value) -> Result<u32, RowError> {
    let pixels = int(value)?;
    u32::try_from(pixels)
        .ok()
        .filter(|pixels| *pixels <= MAX_SIDE)
        .ok_or_else(|| RowError::text(format!("a side of {pixels} pixels is not between 0 and {MAX_SIDE}")))
}

fn decode(value: &Value) -> Result<(ImageFormat, DynamicImage), RowError> {
    let Value::Bytes(bytes) = value else {
        return fail(format!("an image is a bytea, not {}", described(&Cell::of(value))));
    };
    let reader = ImageReader::new(Cursor::new(&bytes[..])).with_guessed_format();
    let mut reader = reader.map_err(|why| RowError::text(format!("image decode error: {why}")))?;
    let Some(format) = reader.format() else {
        return fail("image decode error: neither png nor jpeg nor gif");
    };
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|why| RowError::text(format!("image decode error: {why}")))?;
    Ok((format, image))
}

fn encode(image: DynamicImage, format: ImageFormat) -> Result<Value, RowError> {
    let mut out = Cursor::new(Vec::new());
    // JPEG and GIF have no room for 16 bits, JPEG none for transparency.
    let image = match format {
        ImageFormat::Jpeg => DynamicImage::ImageRgb8(image.into_rgb8()),
        ImageFormat::Gif => DynamicImage::ImageRgba8(image.into_rgba8()),
        _ => image,
    };
    match image.write_to(&mut out, format) {
        Ok(()) => Ok(Value::Bytes(Bytes::from(out.into_inner()))),
        Err(why) => fail(format!("image encode error: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    /// Left half red, right half blue.
    fn picture(format: ImageFormat) -> Value {
        let image = RgbImage::from_fn(8, 4, |x, _| if x < 4 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        encode(image.into(), format).expect("it can be encoded")
    }

    fn sizes(args: &[Value], call: fn(&[Value]) -> Result<Value, RowError>) -> (ImageFormat, u32, u32) {
        let (format, image) = decode(&call(args).expect("it is an image")).expect("it is an image");
        (format, image.width(), image.height())
    }

    #[test]
    fn an_image_is_resized_in_its_own_format() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif] {
            for (width, height, expected) in
                [(4, 4, (4, 4)), (4, 0, (4, 2)), (0, 8, (16, 8)), (0, 0, (8, 4)), (1, 0, (1, 1))]
            {
                let args = [picture(format), Value::Int(width), Value::Float(height as f64)];
                assert_eq!(sizes(&args, resize), (format, expected.0, expected.1));
            }
        }
    }

    #[test]
    fn raw_pixels_are_red_green_and_blue() {
        let args = [picture(ImageFormat::Png), Value::Int(2), Value::Int(1), Value::Bool(true)];
        let Ok(Value::Bytes(pixels)) = resize(&args) else { panic!("bytes") };
        assert_eq!(pixels.len(), 6);
        assert!(pixels[0] > 200 && pixels[2] < 55 && pixels[3] < 55 && pixels[5] > 200, "{pixels:?}");
    }

    #[test]
    fn a_thumbnail_fits_and_is_never_larger_than_the_image() {
        for (width, height, expected) in [(4, 4, (4, 2)), (100, 1, (2, 1)), (100, 100, (8, 4))] {
            let args = [picture(ImageFormat::Png), Value::Int(width), Value::Int(height)];
            assert_eq!(sizes(&args, thumbnail), (ImageFormat::Png, expected.0, expected.1));
        }
        let args = [picture(ImageFormat::Gif), Value::Int(4), Value::Int(4)];
        let why = thumbnail(&args).expect_err("gif is refused as upstream").to_string();
        assert_eq!(why, "gif image type is not currently supported");
    }

    #[test]
    fn what_is_no_image_or_too_large_is_an_error_and_no_panic() {
        let png = picture(ImageFormat::Png);
        let Value::Bytes(whole) = &png else { panic!("bytes") };
        let cut = Value::Bytes(whole.slice(..whole.len() / 2));
        for image in [Value::text("x"), Value::Null, Value::Bytes(Bytes::from_static(b"GIF89a")), cut] {
            assert!(resize(&[image, Value::Int(1), Value::Int(1)]).is_err());
        }
        for size in [Value::Int(-1), Value::Int(1 << 40), Value::Float(0.5), Value::text("2")] {
            assert!(resize(&[png.clone(), size, Value::Int(1)]).is_err());
        }
    }
}
