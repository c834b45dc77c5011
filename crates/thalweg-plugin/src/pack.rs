//! Making a package out of files, and the example plugin that the binary carries.

use std::io::{self, Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// The files of `plugins/vibration`, for [`pack`]. The plugin is called `vibration`.
pub const VIBRATION: &[(&str, &str)] = &[
    ("vibration.json", include_str!("../../../plugins/vibration/vibration.json")),
    ("vibration.py", include_str!("../../../plugins/vibration/vibration.py")),
    ("figures.py", include_str!("../../../plugins/vibration/figures.py")),
];

/// The zip of these files, each given as path and content.
///
/// # Errors
/// A path that a zip cannot hold.
pub fn pack(files: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        zip.start_file(*path, SimpleFileOptions::default())?;
        zip.write_all(content.as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}
