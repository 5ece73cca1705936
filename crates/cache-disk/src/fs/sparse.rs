//! Sparse files: what a file system can do, and which parts of a file hold data.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Directory;

/// Whether files in `directory` take no space where nothing was written, and the file system tells which parts these are; also
/// where that cannot be tried, as on a full disk.
pub(crate) fn is_supported(directory: &Directory) -> bool {
    let is_sparse = || {
        let file = directory.scratch_file().ok()?;
        let at = 1 << 20;
        file.write_all_at(&[1; 4096], at).ok()?;
        let data = data(&file).ok()?;
        Some(taken_bytes(&file) < at && data.first().is_some_and(|first| first.start == at))
    };
    let is_sparse = is_sparse().unwrap_or(true);
    directory.remove_scratch_file();
    is_sparse
}

/// The space of the file on the disk, in bytes, as `du` counts it.
pub(crate) fn taken_bytes(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

/// The ranges of the file that are no holes, in bytes, ascending.
pub(crate) fn data(file: &File) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(ranges),
            Err(error) => return Err(error.into()),
        };
        at = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        ranges.push(start..at);
    }
}
