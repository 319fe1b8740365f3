//! Errors of the stores that hold files, in words: the request, the answer, and what a user can do
//! about it.

use std::error::Error;

use datafusion::error::DataFusionError;

use super::foreign::object_store::{Request, sends_whole_files_only};

/// The store's error that is at the bottom of this one.
pub fn of_store(error: &DataFusionError) -> Option<&object_store::Error> {
    let root = error.find_root();
    if let DataFusionError::ObjectStore(inner) = root {
        return Some(inner);
    }
    let mut inner: Option<&(dyn Error + 'static)> = Some(root);
    while let Some(error) = inner {
        if let Some(of_store) = error.downcast_ref::<object_store::Error>() {
            return Some(of_store);
        }
        // What a writer passes on as an error of input and output.
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(of_store) = io.and_then(|error| error.downcast_ref()) {
            return Some(of_store);
        }
        inner = error.source();
    }
    None
}

/// What a store's error comes to.
pub fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    let Some(request) = Request::of(&text) else {
        return match error {
            object_store::Error::NotSupported { .. } if sends_whole_files_only(&text) => {
                "the server sends whole files only, and this one is read in parts (HTTP range \
                 requests): download it first"
                    .into()
            }
            object_store::Error::Generic { store: "LocalFileSystem", source } => source.to_string(),
            _ => text,
        };
    };
    let Some(answer) = &request.answer else {
        return format!("{}: {}{}", request.url, root_cause(error), advice(&request));
    };
    format!("{}: {answer}{}", request.url, advice(&request))
}

fn root_cause(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// What to do about a request that failed.
fn advice(request: &Request<'_>) -> &'static str {
    const KEYS: &str = "; S3 takes its keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and \
                        its region from AWS_REGION; a public bucket needs AWS_SKIP_SIGNATURE=true";
    // Where the keys of a machine in Amazon's cloud come from.
    if request.url.starts_with("http://169.254.") {
        return KEYS;
    }
    let Some(answer) = &request.answer else { return "" };
    let s3 = request.url.contains("amazonaws.com") || answer.contains('(');
    let status = answer.split(' ').next().unwrap_or_default();
    match (status, request.method) {
        (_, "PROPFIND") => "; this server does not list its files (by WebDAV): name each one",
        ("404", "HEAD" | "GET") if !answer.contains('(') => "; there is no such file",
        ("301" | "307" | "400" | "401" | "403", _) if s3 => KEYS,
        ("401" | "403", _) => "; the server lets nobody read this without signing in",
        ("405" | "501", "PUT") => "; this server takes no files",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;
    use object_store::path::Path;

    use super::*;

    #[test]
    fn what_to_do_goes_by_request_and_answer() {
        let told = |method, url, answer: &str| {
            advice(&Request { method, url, answer: Some(answer.to_string()) })
        };
        assert_eq!(told("HEAD", "http://h/a.csv", "404 Not Found"), "; there is no such file");
        let bucket = "404 Not Found (NoSuchBucket: The bucket does not exist)";
        assert_eq!(told("GET", "http://h/b?list-type=2", bucket), "");
        assert!(told("PROPFIND", "http://h/", "501 Not Implemented").contains("name each one"));
        assert!(told("GET", "http://h/b", "403 Forbidden (A: b)").contains("AWS_REGION"));
        assert!(told("GET", "http://h/b", "403 Forbidden").contains("signing in"));
        assert_eq!(told("PUT", "http://h/b", "405 No"), "; this server takes no files");
        let keys = Request { method: "GET", url: "http://169.254.169.254/a", answer: None };
        assert!(advice(&keys).contains("AWS_ACCESS_KEY_ID"));
    }

    #[tokio::test]
    async fn files_are_told_without_their_store() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let error = store.get(&Path::from("a/b")).await.unwrap_err();
        let store = DataFusionError::from(error);
        let told = told(of_store(&store).unwrap());
        assert!(!told.contains("LocalFileSystem") && told.contains("a/b"), "{told}");
    }
}
