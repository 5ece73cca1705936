//! Changes by derive, and cached functions: users and what is shown of them.
//!
//! `cargo run -p cache-facade --features macros --example macros`

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use cache_facade::{Cache, Invalidates, assert_invalidates, cached};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Profile {
    name: String,
    team: String,
}

/// Callers that share a load get its error each: it can be cloned.
#[derive(Debug, Clone)]
struct DbError(&'static str);

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DbError {}

/// Stands for the pool of a database: clones are cheap.
#[derive(Clone)]
struct Db {
    users: Arc<Mutex<HashMap<u64, Profile>>>,
}

impl Db {
    fn users(&self) -> Result<MutexGuard<'_, HashMap<u64, Profile>>, DbError> {
        self.users.lock().map_err(|_| DbError("the database is poisoned"))
    }
}

// A read of one user. A name that is not there is remembered for a few seconds.
#[cached(family = "user", key = "{id}:profile", ttl = "5m", negative = "5s", cache = "cache")]
async fn profile(cache: &Cache, db: &Db, id: u64) -> Result<Option<Profile>, DbError> {
    println!("  the database is asked for user {id}");
    Ok(db.users()?.get(&id).cloned())
}

// A list. Its group is the team, so that one change invalidates all of its pages.
#[cached(family = "members", key = "{team}:page:{page}", cache = "cache")]
async fn members(cache: &Cache, db: &Db, team: &str, page: usize) -> Result<Vec<String>, DbError> {
    println!("  the database is asked for members of {team}");
    let users = db.users()?;
    let of_team = users.values().filter(|user| user.team == team).map(|user| user.name.clone());
    Ok(of_team.skip(page * 10).take(10).collect())
}

/// What changes, and what is stale then.
#[derive(Invalidates)]
enum UserChange {
    #[invalidates("user:{id}", "members:{team}")]
    Renamed { id: u64, team: String },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In production `Cache::from_env().await?`, once, at the start.
    let cache = Cache::memory();
    let ada = Profile { name: "Ada".to_owned(), team: "engines: analytical".to_owned() };
    let db = Db { users: Arc::new(Mutex::new(HashMap::from([(7, ada.clone())]))) };

    for _ in 0..2 {
        let profile = profile(&cache, &db, 7).await?;
        println!("user 7: {:?}", profile.map(|profile| profile.name));
    }
    println!("members: {:?}", members(&cache, &db, &ada.team, 0).await?);

    // The rule is tested with the keys of the functions.
    let change = UserChange::Renamed { id: 7, team: ada.team.clone() };
    assert_invalidates(&change, &[profile_key(7), members_key(&ada.team, 3)]);
    let (pool, renamed) = (db.clone(), Profile { name: "Ada Lovelace".to_owned(), ..ada.clone() });
    let rename = async move || pool.users().map(|mut users| users.insert(7, renamed));
    println!("renamed: {:?}", cache.change(&change, rename).await?.invalidated);
    println!("members: {:?}", members(&cache, &db, &ada.team, 0).await?);
    Ok(())
}
