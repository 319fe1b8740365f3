//! Files of several names as those of one table.

use std::collections::HashSet;

use datafusion::error::Result;
use datafusion::execution::SessionState;
use url::Position;

use super::error::{data, user};
use super::find::find;
use super::found::{Files, Form, Found, form_of};

/// The files that several names stand for, of one form.
///
/// Errors: there are none; a Delta table; files of several forms or stores, or in folders whose
/// names hold columns.
pub async fn find_all(state: &SessionState, names: &[String], form: Form) -> Result<Files> {
    let mut all: Option<Files> = None;
    for name in names {
        // By tabs where the name says so.
        let form = match form_of(name) {
            Some((Form::Tsv, _)) if form == Form::Csv => Form::Tsv,
            _ => form,
        };
        let files = match find(state, name, Some(form)).await? {
            Found::Files(files) => files,
            Found::Delta(_) => {
                return Err(user(format!("'{name}' is a Delta table: FROM '{name}' reads it")));
            }
            Found::Nothing => return Err(user(format!("file '{name}' does not exist"))),
        };
        match &mut all {
            None => all = Some(files),
            Some(all) => all.join(name, files)?,
        }
    }
    let mut all = all.ok_or_else(|| user("no file is named"))?;
    let mut known = HashSet::new();
    // As they are named: the columns of the first one come first.
    all.objects.retain(|object| known.insert(object.location.clone()));
    Ok(all)
}

impl Files {
    /// Adds files of another name.
    fn join(&mut self, name: &str, other: Self) -> Result<()> {
        let first = self.shown(&self.objects[0]);
        if self.base[..Position::BeforePath] != other.base[..Position::BeforePath] {
            return Err(user(format!("'{first}' and '{name}' are of different stores")));
        }
        if (self.form, self.compression) != (other.form, other.compression) {
            return Err(data(format!("'{first}' and '{name}' are files of different forms")));
        }
        if !self.partitions.is_empty() || !other.partitions.is_empty() {
            return Err(user(
                "a list does not go with folders whose names hold columns: name the folder above \
                 them, and pick by WHERE on the columns",
            ));
        }
        self.whole = false;
        self.objects.extend(other.objects);
        Ok(())
    }
}
