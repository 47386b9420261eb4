//! Whose file and directory may be a store, and how a new one comes into being.
//!
//! The file itself is never opened here, only looked at: POSIX drops all of a process's locks on a
//! file as soon as any descriptor of it is closed, so an innocent look would take the lock from
//! under a writing thread.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, RenameFlags};

use crate::{Error, Result};

const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// The group that may share a store, as it shares the TPM.
const SHARING_GROUP: &str = "tss";

/// Where a store is or will be. Links on the way to the directory are followed, since homes may
/// lie behind one; the name itself is never followed.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    file: PathBuf,
}

impl Place {
    /// The place named by `file`, whose directory must exist and be trustworthy.
    pub(crate) fn new(file: &Path) -> Result<Place> {
        let name = file.file_name().ok_or_else(|| Error::NotFound(file.to_owned()))?;
        let dir = match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let dir = resolved(dir).map_err(|error| unreachable(file, &error))?;
        let place = Place { file: dir.join(name), dir };
        let metadata = fs::symlink_metadata(&place.dir).map_err(|e| unreachable(file, &e))?;
        if !metadata.is_dir() {
            return Err(Error::NotFound(file.to_owned()));
        }
        if let Some(why) = distrust(&metadata, metadata.uid() == 0) {
            return Err(not_trusted(&place.dir, why));
        }
        Ok(place)
    }

    /// Makes what is missing of the directory of `file`, for its owner alone.
    pub(crate) fn make_directory(file: &Path) -> Result<()> {
        match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => {
                let mut builder = DirBuilder::new();
                Ok(builder.recursive(true).mode(0o700).create(dir)?)
            }
            _ => Ok(()),
        }
    }

    /// The file by its resolved path.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Checks the file itself: there, plain, trustworthy and readable.
    pub(crate) fn check_file(&self) -> Result<()> {
        let metadata = fs::symlink_metadata(&self.file).map_err(|error| unreachable(&self.file, &error))?;
        if metadata.is_symlink() {
            return Err(not_trusted(&self.file, "is a symbolic link"));
        }
        if !metadata.is_file() {
            return Err(not_trusted(&self.file, "is not a plain file"));
        }
        let dir = fs::symlink_metadata(&self.dir).map_err(|e| unreachable(&self.file, &e))?;
        if let Some(why) = distrust(&metadata, dir.uid() == 0) {
            return Err(not_trusted(&self.file, why));
        }
        if !may(&self.file, Access::READ_OK) {
            return Err(Error::NotReadable {
                path: self.file.clone(),
                why: "permission is denied; change its owner or mode".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether the file and, for the journal, its directory can be written.
    pub(crate) fn is_writable(&self) -> bool {
        may(&self.file, Access::WRITE_OK) && may(&self.dir, Access::WRITE_OK | Access::EXEC_OK)
    }

    /// A new empty file in the same directory, readable by its owner alone.
    pub(crate) fn draft(&self, suffix: &str) -> Result<Draft> {
        let random = base::random::bytes(8).map_err(|error| Error::Io(error.to_string()))?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.beside(&format!(".{random}{suffix}"));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(|error| {
            match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::ReadOnly,
                _ => error.into(),
            }
        })?;
        Ok(Draft { path, kept: false })
    }

    /// The path of the file with something added to its name.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.file.as_os_str());
        name.push(suffix);
        PathBuf::from(name)
    }
}

/// A file that is removed again unless it is finished and gets its name.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    kept: bool,
}

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, in the place of any file that had it.
    pub(crate) fn replace(mut self, target: &Path) -> Result<()> {
        self.sync_file()?;
        fs::rename(&self.path, target)?;
        self.kept = true;
        sync_directory(target)
    }

    /// Gives the file its name unless there is a file of that name.
    pub(crate) fn publish(mut self, target: &Path) -> Result<()> {
        self.sync_file()?;
        let renamed = rustix::fs::renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE);
        match renamed {
            Ok(()) => self.kept = true,
            Err(rustix::io::Errno::EXIST) => return Err(Error::Exists(target.to_owned())),
            // Not every file system knows the flag; a hard link never replaces either. The draft's
            // own name is then removed with the draft.
            Err(_) => fs::hard_link(&self.path, target).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => Error::Exists(target.to_owned()),
                _ => error.into(),
            })?,
        }
        sync_directory(target)
    }

    fn sync_file(&self) -> Result<()> {
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
        Ok(file.sync_all()?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing hangs on it: a leftover is an unfinished file that nobody looks for.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn sync_directory(file: &Path) -> Result<()> {
    match file.parent() {
        Some(dir) => Ok(File::open(dir)?.sync_all()?),
        None => Ok(()),
    }
}

/// What is wrong with the owner or mode of a file or directory, if anything.
fn distrust(metadata: &Metadata, in_directory_of_root: bool) -> Option<&'static str> {
    let mode = metadata.permissions().mode();
    if metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw() {
        return Some("belongs to somebody else");
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Some("can be written by everybody");
    }
    let shared = || in_directory_of_root && sharing_group() == Some(metadata.gid());
    if mode & WRITABLE_BY_GROUP != 0 && !shared() {
        return Some("can be written by a group");
    }
    None
}

/// The number of the sharing group. The plain file is read, because name services beyond it may
/// load libraries into the process and these may come back to us.
fn sharing_group() -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        (name == SHARING_GROUP).then(|| number.parse().ok())?
    })
}

/// The directory without symbolic links, from the root on.
///
/// `realpath` of the C library does that, in memory that comes from the host's allocator and that we would free with the C
/// library's: in a host with an allocator of its own that loads us with RTLD_DEEPBIND these are not the same.
fn resolved(dir: &Path) -> std::io::Result<PathBuf> {
    /// As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut done =
        std::env::current_dir().or_else(|error| if dir.is_absolute() { Ok(PathBuf::new()) } else { Err(error) })?;
    let mut ahead = parts(dir);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => {
                let next = done.join(name);
                match fs::read_link(&next) {
                    Ok(_) if links == MOST_LINKS => return Err(rustix::io::Errno::LOOP.into()),
                    Ok(target) => {
                        links += 1;
                        ahead.extend(parts(&target));
                    }
                    // No link.
                    Err(error) if error.kind() == ErrorKind::InvalidInput => done = next,
                    Err(error) => return Err(error),
                }
            }
            Some(Component::ParentDir) => drop(done.pop()),
            Some(Component::RootDir) => done = PathBuf::from("/"),
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Ok(done)
}

/// Whether this process may, by its effective ids.
fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

fn not_trusted(path: &Path, why: &str) -> Error {
    Error::NotTrusted { path: path.to_owned(), why: why.to_owned() }
}

fn unreachable(file: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::NotFound(file.to_owned()),
        _ => Error::NotReadable { path: file.to_owned(), why: error.to_string() },
    }
}
