//! Reads files of settings and credentials.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Size limit: settings are a few kilobytes.
const LARGEST: u64 = 1024 * 1024;

/// Reads the file at `path`, without the byte order mark that some editors write.
///
/// # Errors
/// Those of the operating system; `InvalidInput` for a directory or a pipe, which would never end; `InvalidData` for
/// bytes that are not UTF-8, and for more than a megabyte.
pub fn read(path: &Path) -> Result<String> {
    // A pipe is opened without waiting for its other end, and then refused.
    let file = File::from(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        let message = "it is a directory, as a container engine makes of a file that is missing on the host; mount a file, or nothing";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    if kind.is_fifo() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a pipe; write the text to a file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "it is larger than a megabyte; is it the right file?",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(ErrorKind::InvalidData, "it is not text in UTF-8; save it in that encoding")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
