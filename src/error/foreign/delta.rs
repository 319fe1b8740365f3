//! Messages of deltalake and of the Delta kernel below it.

/// The layers that an error comes through, as they put themselves before its message.
const LAYERS: [&str; 4] = [
    "Kernel error: ",
    "Generic error: ",
    "Generic DeltaTable error: ",
    "Generic delta kernel error: ",
];

/// The first line of a message, without the layers it came through: backtraces of the kernel
/// follow.
pub fn without_layers(text: &str) -> &str {
    let mut rest = text.lines().next().unwrap_or_default();
    while let Some(next) = LAYERS.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = next;
    }
    rest
}

/// What is wrong with the log of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// `_last_checkpoint` names a checkpoint that is not there.
    NoCheckpoint,
    /// A commit or a checkpoint is no JSON.
    NoJson,
    /// No commit says what the table is.
    NoMetadata,
}

/// What a message without its layers says of the table's log.
pub fn damage(text: &str) -> Option<Damage> {
    match text {
        _ if text.starts_with("Invalid Checkpoint: Had a _last_checkpoint hint") => {
            Some(Damage::NoCheckpoint)
        }
        _ if text.starts_with("Json error: ") => Some(Damage::NoJson),
        _ if text.starts_with("No table metadata or protocol found") => Some(Damage::NoMetadata),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use deltalake::DeltaTableError;
    use tempfile::TempDir;
    use url::Url;

    use super::*;

    fn url(folder: &TempDir) -> Url {
        Url::from_directory_path(folder.path()).unwrap()
    }

    /// The error of opening a table.
    async fn error(folder: &TempDir) -> DeltaTableError {
        deltalake::open_table(url(folder)).await.err().unwrap()
    }

    /// The first commit of a table with one column.
    const COMMIT: &str = concat!(
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
        "\n",
        r#"{"metaData":{"id":"00000000-0000-0000-0000-000000000000","format":{"provider":"#,
        r#""parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":"#,
        r#"\"a\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"#,
        r#""configuration":{},"createdTime":0}}"#,
        "\n"
    );

    /// The folder of a table's log, with a file of each name.
    fn table(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("_delta_log");
        std::fs::create_dir(&log).unwrap();
        for (name, text) in files {
            std::fs::write(log.join(name), text).unwrap();
        }
        folder
    }

    #[tokio::test]
    async fn damage_of_the_log_is_known() {
        const FIRST: &str = "00000000000000000000.json";
        deltalake::open_table(url(&table(&[(FIRST, COMMIT)]))).await.unwrap();
        let hint = ("_last_checkpoint", "{\"version\":1,\"size\":3}");
        for (files, wanted) in [
            (&[(FIRST, "garbage{")][..], Damage::NoJson),
            (&[(FIRST, &COMMIT[..COMMIT.len() / 2])], Damage::NoJson),
            (&[(FIRST, "{\"commitInfo\":{}}\n")], Damage::NoMetadata),
            (&[(FIRST, COMMIT), hint], Damage::NoCheckpoint),
        ] {
            let text = error(&table(files)).await.to_string();
            assert_eq!(damage(without_layers(&text)), Some(wanted), "{text}");
        }
    }

    #[tokio::test]
    async fn every_layer_is_dropped() {
        let gap = [("00000000000000000000.json", COMMIT), ("00000000000000000002.json", COMMIT)];
        let gap = error(&table(&gap)).await.to_string();
        let table = DeltaTableError::generic("planted").to_string();
        let other = DeltaTableError::GenericError { source: "planted".into() }.to_string();
        for layer in LAYERS {
            let all = [&gap, &table, &other];
            assert!(all.iter().any(|text| text.contains(layer)), "{layer} is in none of {all:?}");
        }
        assert_eq!([without_layers(&table), without_layers(&other)], ["planted"; 2]);
        let told = without_layers(&gap);
        assert!(!LAYERS.iter().any(|layer| told.starts_with(layer)), "{told}");
        assert_eq!(damage(told), None);
    }
}
