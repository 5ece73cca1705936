//! [`World`]: rows of a database, each with a version, and values that contain their key and version.
//!
//! Every read is checked: the value must be one of its key, byte by byte, and not older than the last invalidation that was
//! acknowledged before the read began.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::envelope::HEADER_LENGTH;
use cache_core::{CacheBackend, CacheKey, FillOutcome, Invalidation, NewEntry, Result};
use cache_disk::DiskBackend;

use super::sampler::values_space_of;
use super::storage::{Faulty, tapped};
use super::support::{Dice, MEMORY, config, key, until_complete, what};

/// Rows of a database.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rows: Vec<Row>,
}

/// A row: its version in the database, and the last version whose invalidation was acknowledged.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: CacheKey,
    pub(crate) version: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
}

/// Rows that an invalidation covers, and the version each has from now on.
pub(crate) type Begun = Vec<(usize, u64)>;

impl World {
    /// Rows of several families and groups; some keys differ only in the length of a segment.
    pub(crate) fn new() -> Self {
        let mut keys = Vec::new();
        for id in [1, 5, 50, 6, 7] {
            keys.push(format!("image:{id}:metadata"));
            keys.push(format!("image:{id}:tiles:0:0"));
            keys.push(format!("thumbnail:{id}:64x64"));
            keys.push(format!("project_images:{id}:skip:0:limit:100"));
        }
        keys.push("image:5".to_owned());
        keys.push("[r]image:5:metadata".to_owned());
        Self::of(keys.iter().map(|text| key(text)))
    }

    pub(crate) fn of(keys: impl IntoIterator<Item = CacheKey>) -> Self {
        let row = |key| Row { key, version: AtomicU64::new(0), acknowledged: AtomicU64::new(0) };
        Self { rows: keys.into_iter().map(row).collect() }
    }

    /// A random invalidation of any kind.
    pub(crate) fn any_invalidation(&self, dice: &Dice) -> Invalidation {
        match dice.below(20) {
            0..10 => Invalidation::Key(dice.pick(&self.rows).key.clone()),
            10..15 => Invalidation::Group(dice.pick(&self.rows).key.to_group()),
            15 => what("pattern image:5:tiles"),
            16 => what("pattern thumbnail"),
            17 => what("pattern image:5*"),
            18 => what("pattern *:metadata"),
            _ => Invalidation::Everything,
        }
    }

    /// Reads row `at`, checks the value, and loads it on a miss; returns whether it was a hit.
    pub(crate) async fn read(&self, cache: &dyn CacheBackend, at: usize, size: usize) -> Result<bool> {
        let row = &self.rows[at];
        let oldest = row.acknowledged.load(Ordering::SeqCst);
        let lookup = cache.lookup(&row.key).await?;
        if let Some(entry) = lookup.entry {
            row.check(&entry.payload, oldest);
            return Ok(true);
        }
        let version = row.version.load(Ordering::SeqCst);
        let entry = NewEntry::new(value(&row.key, version, size));
        let (FillOutcome::Stored | FillOutcome::Refused) = cache.fill(&row.key, lookup.token, entry).await?;
        Ok(false)
    }

    /// Reads every row without loading; returns how many were hits.
    pub(crate) async fn look_at_all(&self, cache: &dyn CacheBackend) -> usize {
        self.look_at_blocks(cache).await.0
    }

    /// Reads every row without loading; returns how many were hits, and the space of their blocks in values files, in bytes.
    pub(crate) async fn look_at_blocks(&self, cache: &dyn CacheBackend) -> (usize, u64) {
        let (mut hits, mut bytes) = (0, 0);
        for row in &self.rows {
            let oldest = row.acknowledged.load(Ordering::SeqCst);
            if let Ok(Some(entry)) = cache.get(&row.key).await {
                row.check(&entry.payload, oldest);
                hits += 1;
                bytes += in_blocks(&row.key, entry.payload.len());
            }
        }
        (hits, bytes)
    }

    /// Waits until the index is complete and the values files take no more space than the values that are found; returns that
    /// space, in bytes.
    ///
    /// # Panics
    /// When blocks that no entry has are not freed within five seconds.
    pub(crate) async fn frees_all_other_blocks(&self, cache: &DiskBackend, directory: &Path) -> u64 {
        until_complete(cache).await;
        let start = Instant::now();
        loop {
            // Where there are no holes, the database may reach the limit, which fails a flush.
            let is_flushed = cache.flush().await.is_ok();
            let (_, live) = self.look_at_blocks(cache).await;
            let taken = values_space_of(directory);
            assert!(
                !is_flushed || taken >= live,
                "values of {live} bytes in blocks were found in files that take {taken}"
            );
            // A file system on a disk may note in further blocks where the parts of a file are.
            let notes = if directory.starts_with(MEMORY) { 0 } else { 16 << 10 };
            if is_flushed && taken <= live + notes {
                return live;
            }
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "values files take {taken} bytes, and what is found is {live}: {:?}",
                cache.stats().await
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Changes the rows that `what` covers, as the commit of a database would; the invalidation follows.
    pub(crate) fn begin(&self, what: &Invalidation) -> Begun {
        let covered = self.rows.iter().enumerate().filter(|(_, row)| what.matches(row.key.as_str()));
        covered.map(|(at, row)| (at, row.version.fetch_add(1, Ordering::SeqCst) + 1)).collect()
    }

    /// Notes that the cache has acknowledged the invalidation of `begun`.
    pub(crate) fn acknowledge(&self, begun: &Begun) {
        for (at, version) in begun {
            self.rows[*at].acknowledged.fetch_max(*version, Ordering::SeqCst);
        }
    }

    /// Changes the rows that `what` covers, and invalidates them.
    pub(crate) async fn change(&self, cache: &dyn CacheBackend, what: Invalidation) -> Result<Begun> {
        let begun = self.begin(&what);
        let _ = cache.invalidate(&[what]).await?;
        self.acknowledge(&begun);
        Ok(begun)
    }
}

impl Row {
    /// Checks the value of a read that began after `oldest` was acknowledged.
    pub(crate) fn check(&self, payload: &[u8], oldest: u64) {
        let version = version(&self.key, payload);
        assert!(version >= oldest, "stale: {} is version {version}, {oldest} was acknowledged", self.key);
        let newest = self.version.load(Ordering::SeqCst);
        assert!(version <= newest, "wrong value: {} is version {version}, {newest} is the newest", self.key);
    }
}

/// The value of `key` in `version`: a head with both, filled to `size` bytes with noise that depends on them.
pub(crate) fn value(key: &CacheKey, version: u64, size: usize) -> Bytes {
    let mut bytes = format!("{key} {version} {size}\n").into_bytes();
    bytes.extend(noise(key, version).take(size.saturating_sub(bytes.len())));
    bytes.into()
}

/// The space that a value of this size takes in a values file, in bytes; the rest of it is in a row.
pub(crate) fn in_blocks(key: &CacheKey, size: usize) -> u64 {
    let record = 6 + HEADER_LENGTH + key.as_str().len() + size;
    let (whole, rest) = (record / 4096, record % 4096);
    let longest_in_row = match whole {
        0 => 4080,
        1..4 => 2000,
        _ => 0,
    };
    4096 * (whole + usize::from(rest > longest_in_row)) as u64
}

/// Parses the version from `payload`.
///
/// # Panics
/// If it is not, byte by byte, a value of `key`.
pub(crate) fn version(key: &CacheKey, payload: &[u8]) -> u64 {
    let end = payload.iter().position(|byte| *byte == b'\n').unwrap_or(payload.len());
    let head = String::from_utf8_lossy(&payload[..end]).into_owned();
    let mut words = head.split(' ').skip(1);
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (version, size) = (number(), number());
    let (Some(version), Some(size)) = (version, size) else { panic!("wrong value: {key} is {head:?}") };
    let is_whole = payload == value(key, version, usize::try_from(size).unwrap_or(0));
    assert!(is_whole, "wrong value: {key} is not what was stored, but {} bytes of {head:?}", payload.len());
    version
}

fn noise(key: &CacheKey, version: u64) -> impl Iterator<Item = u8> {
    let seed = key.as_str().bytes().fold(version, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte));
    let dice = Dice::new(seed);
    std::iter::repeat_with(move || dice.next().to_le_bytes()).flatten()
}

/// Opens the store through `disk`, with so little page cache that reads go to the file.
pub(crate) async fn open_on(directory: &Path, disk: &Arc<Faulty>) -> DiskBackend {
    DiskBackend::open(tapped(config(directory).page_cache_bytes(0), disk)).await.unwrap()
}

pub(crate) async fn fill(cache: &DiskBackend, key: &CacheKey, number: u64, size: usize) {
    let token = cache.lookup(key).await.unwrap().token;
    let outcome = cache.fill(key, token, NewEntry::new(value(key, number, size))).await.unwrap();
    assert_eq!(outcome, FillOutcome::Stored, "{key}");
}

pub(crate) async fn found(cache: &DiskBackend, key: &CacheKey) -> Option<u64> {
    cache.get(key).await.unwrap().map(|entry| version(key, &entry.payload))
}

/// The number of `keys` that are found, each with its own value.
pub(crate) async fn hits(cache: &DiskBackend, keys: &[CacheKey]) -> usize {
    let mut hits = 0;
    for key in keys {
        hits += usize::from(found(cache, key).await.is_some());
    }
    hits
}
