//! What a driver keeps of the pipelines it compiled, in a file from one process to the next: one
//! per adapter and driver, in the folder of calibrated rates. Only Vulkan has it to give.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk;

/// Bytes of a file at most: of what is larger nothing is written or read.
const MAX_BYTES: u64 = 64 << 20;

/// The start of a file, before the checksum of the rest.
const MAGIC: [u8; 8] = *b"thalweg1";

/// The cache of one context.
pub struct Cache {
    pub handle: wgpu::PipelineCache,
    file: PathBuf,
    /// Pipelines were made that the file may not have.
    fresh: AtomicBool,
}

impl Cache {
    /// What the driver gives by this handle, kept in this file.
    pub fn new(handle: wgpu::PipelineCache, file: PathBuf) -> Self {
        Self { handle, file, fresh: AtomicBool::new(false) }
    }

    /// A pipeline was made.
    pub fn made(&self) {
        self.fresh.store(true, Ordering::Relaxed);
    }

    /// Writes the file, if there are new pipelines. A file that cannot be written is none.
    pub fn save(&self) {
        if !self.fresh.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(data) = self.handle.get_data() else { return };
        if let Err(error) = write(&self.file, &data) {
            tracing::debug!(file = %self.file.display(), %error, "pipelines are not kept");
        }
    }
}

/// What a file holds.
///
/// # Errors
/// Of reading, and where the file is damaged or too large.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    if std::fs::metadata(file)?.len() > MAX_BYTES {
        return Err(damaged("it is too large"));
    }
    let mut bytes = std::fs::read(file)?;
    let head = MAGIC.len() + size_of::<u32>();
    let Some((magic, sum)) = bytes.get(..head).and_then(|head| head.split_first_chunk()) else {
        return Err(damaged("it is too short"));
    };
    if *magic != MAGIC || *sum != crc32fast::hash(&bytes[head..]).to_le_bytes() {
        return Err(damaged("it is damaged"));
    }
    bytes.drain(..head);
    Ok(bytes)
}

fn write(file: &Path, data: &[u8]) -> io::Result<()> {
    let head = [&MAGIC[..], &crc32fast::hash(data).to_le_bytes()].concat();
    if (head.len() + data.len()) as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "there are too many"));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    disk::replace_cached(file, &[&head, data].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::context::Context;
    use crate::device::{Tier, adapter, testing};

    #[test]
    fn what_is_written_is_read_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below").join("a.bin");
        assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        write(&file, b"pipelines").unwrap();
        write(&file, b"pipelines of today").unwrap();
        assert_eq!(read(&file).unwrap(), b"pipelines of today");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "{at}");
            std::fs::write(&file, &whole[..at]).unwrap();
            assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "{at}");
        }
    }

    #[test]
    fn a_damaged_file_is_written_anew() {
        if testing::shared(None).is_none() {
            return;
        }
        let adapter = adapter::choose(None).unwrap();
        let context = Context::open(&adapter, Tier::T0).unwrap();
        if !context.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.bin");
        // Of another program; of this one, but not the driver's.
        let foreign = [&MAGIC[..], &crc32fast::hash(b"nothing").to_le_bytes(), b"nothing"].concat();
        for damaged in [b"something".to_vec(), foreign] {
            std::fs::write(&file, &damaged).unwrap();
            let cache = Cache::at(&context, file.clone()).unwrap();
            cache.save();
            assert_eq!(std::fs::read(&file).unwrap(), damaged, "nothing is new");
            cache.made();
            cache.save();
            let kept = read(&file).unwrap();
            assert!(!kept.is_empty() && kept != b"nothing");
            assert!(Cache::at(&context, file.clone()).is_some());
        }
    }
}
