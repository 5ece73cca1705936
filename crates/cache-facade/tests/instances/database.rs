//! A database that several processes share: a version for each row, in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

/// The number of rows.
pub(crate) const ROWS: u32 = 48;

pub(crate) struct Database {
    file: File,
    /// The lock of the file excludes other processes; this one excludes other tasks.
    writer: Mutex<()>,
}

impl Database {
    pub(crate) fn create(path: &Path) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(u64::from(ROWS) * 8).unwrap();
        Self { file, writer: Mutex::new(()) }
    }

    pub(crate) fn open(path: &Path) -> Self {
        Self { file: File::options().read(true).write(true).open(path).unwrap(), writer: Mutex::new(()) }
    }

    pub(crate) fn version(&self, row: u32) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset(row)).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Writes the next version of `row`, after it was passed to `about_to`.
    pub(crate) fn write(&self, row: u32, about_to: impl FnOnce(u64)) -> u64 {
        let _writer = self.writer.lock().unwrap();
        self.file.lock().unwrap();
        let version = self.version(row) + 1;
        about_to(version);
        self.file.write_all_at(&version.to_le_bytes(), offset(row)).unwrap();
        self.file.unlock().unwrap();
        version
    }
}

fn offset(row: u32) -> u64 {
    u64::from(row) * 8
}
