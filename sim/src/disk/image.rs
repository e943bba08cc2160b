//! The content of a whole disk, to be kept, compared and put back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::content::Content;
use super::names::InodeId;
use super::tree::{Kind, Tree};

/// Directories and files by path; what a process would read, nothing about what is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    /// The content of a file, `None` for a directory.
    entries: BTreeMap<Arc<str>, Option<Bytes>>,
}

impl DiskImage {
    /// Files by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.entries.iter().filter_map(|(path, bytes)| Some((&**path, bytes.as_ref()?)))
    }

    /// The content of the file at `path`.
    pub fn file(&self, path: &str) -> Option<&Bytes> {
        self.entries.get(path)?.as_ref()
    }

    /// The directories.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|(_, bytes)| bytes.is_none()).map(|(path, _)| &**path)
    }

    pub(super) fn of(tree: &Tree) -> DiskImage {
        let mut entries = BTreeMap::new();
        for (id, inode) in &tree.inodes {
            if !inode.is_linked || *id == tree.root {
                continue;
            }
            let bytes = match &inode.kind {
                Kind::File(content) => Some(Bytes::copy_from_slice(content.cached())),
                Kind::Dir { .. } => None,
            };
            entries.insert(Arc::clone(&inode.path), bytes);
        }
        DiskImage { entries }
    }

    /// Puts everything into an empty tree, durably.
    pub(super) fn fill(&self, tree: &mut Tree) {
        for (path, bytes) in &self.entries {
            let kind = match bytes {
                Some(bytes) => Kind::File(Content::settled(bytes.to_vec())),
                None => Kind::empty_dir(),
            };
            // A directory sorts before what is in it.
            let found = tree.find_parent(path);
            let (dir, name): (InodeId, &str) = found.expect("an image has every parent");
            tree.add(dir, name, kind);
        }
        tree.settle();
    }
}
