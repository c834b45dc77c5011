//! Making a package out of files, and the example plugin that the binary carries.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// The files of `plugins/vibration`, for [`pack`]. The plugin is called `vibration`.
pub const VIBRATION: &[(&str, &str)] = &[
    ("vibration.json", include_str!("../../../plugins/vibration/vibration.json")),
    ("vibration.py", include_str!("../../../plugins/vibration/vibration.py")),
    ("features.py", include_str!("../../../plugins/vibration/features.py")),
];

/// Writes the zip of these files, each given as path and content, to `target`.
///
/// # Errors
/// The file cannot be written, or a path is none that a zip can hold.
pub fn pack(files: &[(&str, &str)], target: &Path) -> io::Result<()> {
    let mut zip = ZipWriter::new(File::create(target)?);
    for (path, content) in files {
        zip.start_file(*path, SimpleFileOptions::default())?;
        zip.write_all(content.as_bytes())?;
    }
    zip.finish().map(drop).map_err(io::Error::from)
}
