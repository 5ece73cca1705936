//! The journal of a process that lost its directory.

use super::*;

/// History 31, with another process whose writer thread waits for a disk that hangs: it goes on to serve hits.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_refused_while_another_process_keeps_the_directory() {
    let place = Directory::new();
    let root = place.root.path().join("cache");
    fs::create_dir(&root).unwrap();
    let held = HeldDirectory::take(&root, Sharing::Exclusive).await.unwrap();
    let own = OrphanJournal::read(claim(&root, Some).unwrap());
    let journal = Journal::open(own, &Target::Disk, &held).unwrap();
    fs::rename(&root, root.with_extension("lost")).unwrap();
    fs::create_dir(&root).unwrap();
    let other = HeldDirectory::take(&root, Sharing::Exclusive).await.unwrap();
    let others = claim(&root, Some).unwrap();
    for _ in 0..2 {
        let refused = journal.intend(&[group(1)]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
    }
    drop((other, others));
    journal.intend(&[group(1)]).await.unwrap().finish();
}

/// A store that may be trusted as soon as it is resumed, as the disk cache is.
#[derive(Debug)]
struct Trusted {
    root: PathBuf,
    found: Arc<Mutex<Vec<String>>>,
}

impl Suspend for Trusted {
    fn suspend(&self, _cause: &Error) {}

    fn resume(&self) -> Result<()> {
        let records = format::decode(&fs::read(self.root.join("instance-0/journal")).unwrap()).unwrap();
        self.found
            .lock()
            .extend(records.iter().flat_map(|(_, record)| &record.what).map(ToString::to_string));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_in_a_new_directory_holds_every_intent_before_the_store_is_resumed() {
    let place = Directory::new();
    let root = place.root.path().join("cache");
    fs::create_dir(&root).unwrap();
    let held = HeldDirectory::take(&root, Sharing::Exclusive).await.unwrap();
    let own = OrphanJournal::read(claim(&root, Some).unwrap());
    let journal = Journal::open(own, &Target::Disk, &held).unwrap();
    let found = Arc::default();
    journal.suspends(Trusted { root: root.clone(), found: Arc::clone(&found) });
    let one = journal.intend(&[group(1)]).await.unwrap();
    fs::remove_dir_all(&root).unwrap();
    let two = journal.intend(&[group(2)]).await.unwrap();
    assert!(found.lock().contains(&group(1).to_string()), "{:?}", found.lock());
    drop((one, two));
}
