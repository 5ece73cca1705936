//! The cache in a program that is not async: threads, and a database whose calls block.
//!
//! `cargo run -p cache-facade --features blocking --example synchronous`

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cache_facade::{Cache, Family, LoadResult, blocking};

/// Stands for a database; it counts its queries.
#[derive(Clone)]
struct Database(Arc<Mutex<(HashMap<u64, String>, u32)>>);

impl Database {
    fn with<T>(&self, work: impl FnOnce(&mut (HashMap<u64, String>, u32)) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn name(&self, id: u64) -> Result<String, String> {
        self.with(|(names, queries)| {
            *queries += 1;
            names.get(&id).cloned().ok_or_else(|| format!("there is no user {id}"))
        })
    }

    fn rename(&self, id: u64, name: &str) -> Result<(), String> {
        let rename = |row: &mut String| name.clone_into(row);
        self.with(|(names, _)| names.get_mut(&id).map(rename).ok_or_else(|| format!("there is no user {id}")))
    }
}

/// Reads through the cache. The closure may outlive the call, and gets a handle of its own.
fn name(names: &Family<u64, String>, database: &Database, id: u64) -> LoadResult<String, String> {
    let database = database.clone();
    names.blocking().get_or_load(id, move || database.name(id))
}

fn main() -> Result<(), Box<dyn Error>> {
    // In production `blocking::wait(Cache::from_env())?`, once, at the start.
    let cache = Cache::memory();
    let names: Family<u64, String> = cache.family("user")?;
    let database = Database(Arc::new(Mutex::new((HashMap::from([(7, "Ada".to_owned())]), 0))));

    // The threads that miss a name at once cause one query.
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| println!("{:?}", name(&names, &database, 7)));
        }
    });
    assert_eq!(database.with(|(_, queries)| *queries), 1);

    let rows = database.clone();
    cache.blocking().change(names.at(7), move || rows.rename(7, "Grace"))?;
    assert_eq!(name(&names, &database, 7)?, "Grace");
    assert_eq!(
        name(&names, &database, 8).map_err(|error| error.to_string()),
        Err("there is no user 8".to_owned())
    );

    // `wait` is for every other call.
    println!("{}", blocking::wait(cache.stats())?);
    blocking::wait(cache.close())?;
    Ok(())
}
