//! Commits that others have written to a table, and how far ours reach beside them.
//!
//! RESTORE is a commit of its own that takes files out or puts them back, and leaves the places
//! that application transactions tell: so a place counts where its commit is found by going back
//! from the newest version, from a RESTORE on to the version that it restored.

use std::collections::BTreeMap;

use deltalake::{DeltaTable, DeltaTableError};
use serde_json::Value;

use super::error::failed;
use super::{Table, location};
use crate::error::{Error, Result};

/// What a commit has to tell here.
struct Commit {
    version: u64,
    operation: String,
    /// Rows are others behind it.
    changes: bool,
    /// Columns or the table's properties are others behind it.
    alters: bool,
    /// The version that it restored.
    restored: Option<u64>,
    reached: BTreeMap<String, i64>,
}

impl Commit {
    /// Of the text of a commit: an action a line.
    fn of(version: u64, text: &str) -> serde_json::Result<Self> {
        let (operation, reached) = (String::new(), BTreeMap::new());
        let (changes, alters) = (false, false);
        let mut commit = Self { version, operation, changes, alters, restored: None, reached };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let action: Value = serde_json::from_str(line)?;
            let changes = |name: &str| action[name]["dataChange"] == true;
            commit.changes |= changes("add") || changes("remove");
            commit.alters |= action["metaData"].is_object() || action["protocol"].is_object();
            let place = &action["txn"];
            if let (Some(id), Some(to)) = (place["appId"].as_str(), place["version"].as_i64()) {
                commit.reached.insert(id.to_string(), to);
            }
            let info = &action["commitInfo"];
            if let Some(operation) = info["operation"].as_str() {
                commit.operation = operation.to_string();
                // A number; in text, as some write it.
                let restored = info["operationParameters"]["version"].to_string();
                let restored = restored.trim_matches('"').parse().ok();
                commit.restored = restored.filter(|_| operation == "RESTORE");
            }
        }
        Ok(commit)
    }

    fn is_ours(&self) -> bool {
        self.reached.keys().any(|application| application.starts_with("thalweg/"))
    }
}

impl Table {
    /// How far the commits of `application` reach, whose rows the table has; `None` before the
    /// first. What a RESTORE has taken out does not count.
    ///
    /// Errors: a RESTORE that does not tell the version.
    pub async fn reached(&self, application: &str) -> Result<Option<i64>> {
        let reached = self.reached_by(&[application.to_string()]).await?;
        Ok(reached.first().copied().flatten())
    }

    /// The same of several at once: those that commits name together are found together.
    pub async fn reached_by(&self, applications: &[String]) -> Result<Vec<Option<i64>>> {
        let (reached, _) = self.look_back(applications).await?;
        Ok(reached)
    }

    /// Tells what others have written since the newest commit of `application` that counts.
    pub async fn tell_others(&self, application: &str) -> Result<()> {
        let (_, commits) = self.look_back(&[application.to_string()]).await?;
        commits.iter().rev().for_each(|commit| self.tell(commit));
        Ok(())
    }

    fn tell(&self, commit: &Commit) {
        let Commit { version, operation, .. } = commit;
        match commit.restored {
            Some(restored) => tracing::warn!(
                "the Delta table '{}': version {version} has restored version {restored}: what was \
                 written behind that is written again",
                self.name
            ),
            None if commit.changes && !commit.is_ours() => tracing::warn!(
                "the Delta table '{}': version {version} ({operation}) was written by another \
                 program than thalweg: rows are taken as they are now",
                self.name
            ),
            None => {}
        }
    }

    /// How far applications reach, and the commits behind the last that was found, from the newest
    /// on.
    async fn look_back(&self, applications: &[String]) -> Result<(Vec<Option<i64>>, Vec<Commit>)> {
        let failed = |error| failed(&self.name, error);
        let (mut at, mut passed) = (self.table.version(), Vec::new());
        let (mut reached, mut sought) = (vec![None; applications.len()], Vec::new());
        for (nth, application) in applications.iter().enumerate() {
            // A table of others may have many commits.
            if transaction(&self.table, application).await.map_err(failed)?.is_some() {
                sought.push(nth);
            }
        }
        while let Some(version) = at.filter(|_| !sought.is_empty()) {
            let Some(commit) = self.commit_at(version).await? else {
                for nth in sought {
                    reached[nth] =
                        self.reached_at(version, &applications[nth]).await.map_err(failed)?;
                }
                break;
            };
            sought.retain(|nth| {
                reached[*nth] = commit.reached.get(&applications[*nth]).copied();
                reached[*nth].is_none()
            });
            if sought.is_empty() {
                break;
            }
            at = match commit.restored {
                Some(restored) => Some(restored),
                None if commit.operation == "RESTORE" => return Err(self.restored_by_time(version)),
                None => version.checked_sub(1),
            };
            passed.push(commit);
        }
        Ok((reached, passed))
    }

    fn restored_by_time(&self, version: u64) -> Error {
        Error::user(format!(
            "the Delta table '{}': version {version} has restored the table as of a time, and does \
             not tell which version that was: RESTORE it to a version by its number",
            self.name
        ))
    }

    /// A commit; `None` where the log has it no more.
    async fn commit_at(&self, version: u64) -> Result<Option<Commit>> {
        let failed = |error| failed(&self.name, error);
        let store = self.table.log_store();
        let Some(bytes) = store.read_commit_entry(version).await.map_err(failed)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let commit = Commit::of(version, &text).map_err(|error| {
            Error::Data(format!("the Delta table '{}': version {version}: {error}", self.name))
        });
        commit.map(Some)
    }

    /// How far an application reaches in a version whose commit is in a checkpoint only.
    async fn reached_at(
        &self,
        version: u64,
        application: &str,
    ) -> Result<Option<i64>, DeltaTableError> {
        if self.table.version() == Some(version) {
            return transaction(&self.table, application).await;
        }
        let mut table = self.table.clone();
        table.load_version(version).await?;
        transaction(&table, application).await
    }

    /// After a commit that failed: goes on to the newest version, if others have written
    /// meanwhile and nothing speaks against the same commit behind theirs.
    ///
    /// Errors: that of the commit; a RESTORE; other columns; another run of the same application.
    pub(super) async fn pass_others(
        &mut self,
        error: DeltaTableError,
        reached: &[(String, i64)],
    ) -> Result<()> {
        let wrong = |what: &str| Error::user(format!("the Delta table '{}': {what}", self.name));
        let known = self.table.version().unwrap_or_default();
        let mut newest = self.table.clone();
        newest.update_state().await.map_err(|error| failed(&self.name, error))?;
        let last = newest.version().unwrap_or_default();
        if last == known {
            return Err(failed(&self.name, error));
        }
        for version in known + 1..=last {
            let Some(commit) = self.commit_at(version).await? else { continue };
            if reached.iter().any(|(application, _)| commit.reached.contains_key(application)) {
                return Err(wrong("another run of this pipeline writes to it: only one may"));
            }
            if commit.operation == "RESTORE" {
                return Err(wrong(&format!(
                    "version {version} has restored an older one while this pipeline runs: start \
                     it again, to write again what was written behind that"
                )));
            }
            if commit.alters {
                return Err(wrong(&format!(
                    "version {version} ({}) has changed its columns or properties while this \
                     pipeline runs: start it again",
                    commit.operation
                )));
            }
            self.tell(&commit);
        }
        self.table = newest;
        Ok(())
    }

    /// Begins with a fresh snapshot of the same version.
    pub(super) async fn reopen(&mut self) -> Result<()> {
        let failed = |error| failed(&self.name, error);
        let (url, _) = location(&self.name, false)?;
        let builder = deltalake::DeltaTableBuilder::from_url(url).map_err(failed)?;
        let builder = builder.with_version(self.table.version().unwrap_or_default());
        self.table = builder.load().await.map_err(failed)?;
        Ok(())
    }
}

async fn transaction(
    table: &DeltaTable,
    application: &str,
) -> Result<Option<i64>, DeltaTableError> {
    let store = table.log_store();
    table.snapshot()?.transaction_version(store.as_ref(), application).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::record_batch::RecordBatch;

    use super::*;

    fn batch(values: &[i64]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let values = Int64Array::from(values.to_vec());
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap()
    }

    async fn open(path: &str) -> Table {
        Table::open_or_create(path, &batch(&[]).schema()).await.unwrap()
    }

    fn to(epoch: i64) -> [(String, i64); 1] {
        [("thalweg/p/s".to_string(), epoch)]
    }

    async fn restore(table: &Table, version: u64) {
        table.table.clone().restore().with_version_to_restore(version).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_restore_has_taken_out_does_not_count() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t").display().to_string();
        let mut table = open(&path).await;
        for epoch in 1..=4 {
            table.append(&[batch(&[epoch])], &to(epoch)).await.unwrap();
        }
        let reached = async || open(&path).await.reached("thalweg/p/s").await.unwrap();
        restore(&table, 2).await;
        assert_eq!(reached().await, Some(2));
        restore(&open(&path).await, 4).await;
        assert_eq!(reached().await, Some(4));
        // Back to a version that was restored itself, and before the first of ours.
        restore(&open(&path).await, 5).await;
        assert_eq!(reached().await, Some(2));
        let mut table = open(&path).await;
        table.append(&[batch(&[3])], &to(3)).await.unwrap();
        assert_eq!(reached().await, Some(3));
        restore(&open(&path).await, 0).await;
        assert_eq!(reached().await, None);
    }

    #[tokio::test]
    async fn others_may_write_between_but_not_restore() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t").display().to_string();
        let mut table = open(&path).await;
        table.append(&[batch(&[1])], &to(1)).await.unwrap();
        open(&path).await.append(&[batch(&[7])], &[]).await.unwrap();
        let keys = ["n".to_string()];
        table.append(&[batch(&[2])], &to(2)).await.unwrap();
        open(&path).await.append(&[batch(&[8])], &[]).await.unwrap();
        table.upsert(&[batch(&[2])], &keys, &to(3)).await.unwrap();
        assert_eq!(open(&path).await.reached("thalweg/p/s").await.unwrap(), Some(3));
        let (_, others) = open(&path).await.look_back(&["thalweg/p/s".to_string()]).await.unwrap();
        assert!(others.is_empty());
        open(&path).await.append(&[batch(&[9])], &[]).await.unwrap();
        let (_, others) = open(&path).await.look_back(&["thalweg/p/s".to_string()]).await.unwrap();
        assert!(others.len() == 1 && others[0].changes && others[0].operation == "WRITE");
        // A second run.
        open(&path).await.append(&[batch(&[4])], &to(4)).await.unwrap();
        let told = table.append(&[batch(&[4])], &to(4)).await.unwrap_err().to_string();
        assert!(told.contains("another run of this pipeline"), "{told}");
        let mut table = open(&path).await;
        restore(&table, 1).await;
        let told = table.append(&[batch(&[5])], &to(5)).await.unwrap_err().to_string();
        assert!(told.contains("has restored an older one while"), "{told}");
    }
}
