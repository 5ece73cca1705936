//! Loaders that borrow what may be gone when they run.

use cache_facade::{Family, LoadResult};

struct Db;

impl Db {
    async fn name(&self, id: u64) -> Result<String, String> {
        Ok(format!("user {id}"))
    }
}

struct Users {
    db: Db,
    names: Family<u64, String>,
}

impl Users {
    async fn borrows_self(&self, id: u64) -> LoadResult<String, String> {
        self.names.get_or_load(id, async move || self.db.name(id).await).await
    }
}

async fn borrows_a_local_variable(names: Family<u64, String>, db: Db) -> LoadResult<String, String> {
    names.get_or_load(7, async || db.name(7).await).await
}

fn main() {}
