//! Reading, writing and punching one file.

use std::fs::File;
use std::io::{self, IoSlice};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

/// Appends up to `length` bytes at `offset` to `record`, fewer at the end of the file.
pub(super) fn read(file: &File, offset: u64, length: usize, record: &mut Vec<u8>) -> io::Result<()> {
    let (start, end) = (record.len(), record.len() + length);
    record.reserve_exact(length);
    while record.len() < end {
        let at = offset + (record.len() - start) as u64;
        // The allocator may have given more than was asked for.
        match rustix::io::pread(file, spare_capacity(record), at) {
            Ok(0) => break,
            Ok(_) => record.truncate(end),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes both parts at `offset`.
pub(super) fn write(file: &File, mut offset: u64, mut parts: [IoSlice<'_>; 2]) -> io::Result<()> {
    let mut rest = &mut parts[..];
    loop {
        IoSlice::advance_slices(&mut rest, 0);
        if rest.is_empty() {
            return Ok(());
        }
        match rustix::io::pwritev(file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut rest, written);
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Frees the blocks from `offset` on.
#[cfg(target_os = "linux")]
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(file, flags, offset, length) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Other systems have no call for it that this crate can use.
#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
