//! Locks: made from what sources hand over, compared with what a build takes, and the files that
//! they are stored in.
//!
//! The lock of `STEM.yaml` is `STEM.lock.json` beside it, and what it keeps of upstream's words is
//! in `STEM.lock.evidence/`, each file under its digest. What a lock means is decided in
//! [`crate::bundle::lock`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::source::{Plugin, SourceError, Sources, Wanted};
use crate::bundle::definition::source::{Request, SourceDescription};
use crate::bundle::lock::{
    BundleLock, KeptEvidence, Level, LockError, LockedChecksum, LockedPlugin, LockedSigned,
    Reproduced,
};
use crate::bundle::{ChecksumFile, Definition, SignedEvidence, Sum};
use crate::disk::{Directory, DiskError, directory_of, open_file};
use crate::model::{Classed, Digest, ErrorClass, Platform, PluginName, Sha512};
use crate::trust::verify_upstream;

/// The lock of a definition, as files.
#[derive(Debug, Clone)]
pub struct LockFile {
    folder: PathBuf,
    stem: String,
}

/// Why the files of a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// The lock is not valid.
    #[error("`{}`", .path.display())]
    Lock {
        /// The path of the lock.
        path: PathBuf,
        /// What is wrong with it.
        source: LockError,
    },
    /// A file that cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl Classed for LockFileError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lock { .. } => ErrorClass::Request,
            Self::Read { source, .. } => source.class(),
        }
    }
}

impl LockFile {
    /// The lock of the definition at this path.
    pub fn beside(definition: &Path) -> Self {
        let folder = definition.parent().unwrap_or(Path::new(""));
        let stem = definition.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { folder: folder.to_owned(), stem }
    }

    /// The lock at this path, if it is one by its name: `STEM.lock.json`.
    pub fn at(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".lock.json")?.to_owned();
        Some(Self { folder: path.parent().unwrap_or(Path::new("")).to_owned(), stem })
    }

    /// The path of the lock.
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.name())
    }

    fn name(&self) -> String {
        format!("{}.lock.json", self.stem)
    }

    fn evidence(&self) -> PathBuf {
        self.folder.join(format!("{}.lock.evidence", self.stem))
    }

    /// The lock and the evidence that it keeps; `None` if there is no lock.
    pub fn read(&self) -> Result<Option<(BundleLock, KeptEvidence)>, LockFileError> {
        let path = self.path();
        let bytes = match read(&path, BundleLock::LIMIT as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => {
                result.map_err(|source| LockFileError::Read { path: path.clone(), source })?
            }
        };
        let lock = BundleLock::parse(&self.name(), &bytes)
            .map_err(|source| LockFileError::Lock { path, source })?;
        let mut kept = kept_evidence();
        for digest in lock.evidence() {
            let path = self.evidence().join(digest.hex());
            match read(&path, ChecksumFile::LIMIT) {
                // What is not kept under its digest is as good as gone, and the lock says so.
                Ok(content) => {
                    kept.keep(&content);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(LockFileError::Read { path, source }),
            }
        }
        Ok(Some((lock, kept)))
    }

    /// Writes a lock: first what it keeps, then the lock in one step. What only the lock before it
    /// kept is removed last.
    pub fn write(
        &self,
        old: Option<&BundleLock>,
        lock: &BundleLock,
        kept: &KeptEvidence,
    ) -> Result<(), DiskError> {
        let folder = Directory::open(directory_of(&self.path()))?;
        let named = lock.evidence();
        let path = self.evidence();
        // A link could lead to files that are not of this lock.
        let kind = match std::fs::symlink_metadata(&path) {
            Ok(found) => Some(found.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(io_error("read", &path, source)),
        };
        if kind == Some(false) {
            let found = io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory");
            return Err(io_error("keep evidence in", &path, found));
        }
        if kind.is_none() && !named.is_empty() {
            std::fs::create_dir(&path).map_err(|source| io_error("create", &path, source))?;
        }
        let evidence = match kind.is_some() || !named.is_empty() {
            true => Some(Directory::open(&path)?),
            false => None,
        };
        for (digest, content) in kept.iter().filter(|(digest, _)| named.contains(*digest)) {
            let Some(evidence) = &evidence else { break };
            evidence.write_atomic(digest.hex(), content, 0o644)?;
        }
        folder.write_atomic(self.name(), lock.to_text().as_bytes(), 0o644)?;
        let Some(evidence) = evidence else { return Ok(()) };
        for digest in old.map(BundleLock::evidence).unwrap_or_default().difference(&named) {
            match evidence.remove(digest.hex()) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        if named.is_empty() {
            // It stays if something else is in it.
            drop(std::fs::remove_dir(&path));
        }
        Ok(())
    }
}

/// No evidence yet, of which `trust` verifies what is signed.
fn kept_evidence() -> KeptEvidence {
    KeptEvidence::verified_by(verify_upstream)
}

fn io_error(action: &str, path: &Path, source: io::Error) -> DiskError {
    DiskError::Io { action: action.to_owned(), path: path.display().to_string(), source }
}

/// Reads a whole file, and one byte past the limit of what is in it.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A lock that was made and is not written yet.
#[derive(Debug)]
pub struct NewLock {
    /// The lock.
    pub lock: BundleLock,
    /// What it keeps of upstream's words.
    pub kept: KeptEvidence,
    /// The plugins that were taken for it, still open.
    pub taken: BTreeMap<Platform, Vec<Plugin>>,
}

impl NewLock {
    /// Writes down that a plugin was reproduced, or that it was not.
    pub(super) fn state(&mut self, wanted: &Wanted, reproduced: Option<Reproduced>) {
        let is_it = |entry: &&mut LockedPlugin| {
            entry.name == wanted.name && entry.platform == wanted.platform
        };
        if let Some(entry) = self.lock.plugins.iter_mut().find(is_it) {
            *entry = LockedPlugin { reproduced, ..entry.clone() }.with_level(&self.kept);
        }
    }
}

/// Takes the plugins of the sources, and writes down what each is. If `only` names some, the
/// others stay as they are in `old`, where that answers the definition.
pub fn lock(
    sources: &Sources<'_>,
    old: Option<&(BundleLock, KeptEvidence)>,
    only: &BTreeSet<PluginName>,
) -> Result<NewLock, SourceError> {
    let definition = sources.definition();
    let (requests, recipes) = (definition.requests(), definition.recipes());
    // Plugins of one asset or module are taken together: it has one digest.
    let assets: BTreeSet<&String> = requests
        .iter()
        .filter(|((name, _), _)| only.contains(name))
        .map(|(_, request)| &request.location)
        .collect();
    let stays = |name: &PluginName, platform: &Platform| -> Option<LockedPlugin> {
        let (old, kept) = old.filter(|_| !only.is_empty() && !only.contains(name))?;
        let key = (name.clone(), platform.clone());
        let request = requests.get(&key)?;
        if request.is_fetched() && assets.contains(&request.location) {
            return None;
        }
        let entry = old.entry(platform, name).filter(|entry| entry.request == *request)?;
        Some(entry.clone().with_statement_of(Some(entry), recipes.get(&key), kept))
    };
    let mut kept = old.map_or_else(kept_evidence, |(_, kept)| kept.clone());
    let mut plugins: Vec<LockedPlugin> =
        requests.keys().filter_map(|(name, platform)| stays(name, platform)).collect();
    let wanted = |wanted: &Wanted| stays(&wanted.name, &wanted.platform).is_none();
    let taken = sources.take_some(&wanted)?;
    for (platform, of_platform) in &taken {
        for plugin in of_platform {
            let key = (plugin.facts.name.clone(), platform.clone());
            let Some(request) = requests.get(&key) else { continue };
            if let Some(checksum) = plugin.taken().checksum() {
                kept.insert(Digest::of(&checksum.content), checksum.content.clone());
            }
            if let Some(proof) = plugin.taken().module().and_then(|module| module.proof.as_ref()) {
                kept.insert(Digest::of(proof), proof.clone());
            }
            if let Some(SignedEvidence { key, signature, provenance }) = plugin.taken().signed() {
                let files = [Some(key.as_bytes()), signature.as_deref(), provenance.as_deref()];
                for file in files.into_iter().flatten() {
                    kept.keep(file);
                }
            }
            let old = old.and_then(|(old, _)| old.entry(platform, &key.0));
            let entry = entry(platform, request.clone(), plugin, old, &kept)?;
            let entry = entry.with_statement_of(old, recipes.get(&key), &kept);
            plugins.push(described(entry, definition));
        }
    }
    let schema = old.and_then(|(old, _)| old.schema.clone());
    let lock = BundleLock { schema, ..BundleLock::new(definition.name.clone(), plugins) };
    Ok(NewLock { lock, kept, taken })
}

/// What a lock says of a plugin.
pub(super) fn entry(
    platform: &Platform,
    request: Request,
    plugin: &Plugin,
    old: Option<&LockedPlugin>,
    kept: &KeptEvidence,
) -> Result<LockedPlugin, SourceError> {
    let (facts, taken) = (&plugin.facts, plugin.taken());
    let checksum = taken.checksum().map(|checksum| LockedChecksum {
        location: checksum.location.clone(),
        name: checksum.name.clone(),
        digest: Digest::of(&checksum.content),
        sha512: match checksum.sum {
            Sum::Sha256(_) => None,
            Sum::Sha512(sum) => Some(sum),
        },
    });
    let entry = LockedPlugin {
        name: facts.name.clone(),
        platform: platform.clone(),
        request,
        artefact: taken.artefact(),
        member: taken.artefact().and(taken.origin().member.clone()),
        image: taken.image(),
        module_sum: taken.module().map(|module| module.sum),
        sumdb: taken.module().and_then(|module| module.proof.as_deref()).map(Digest::of),
        digest: facts.digest,
        sha512: plugin.sha512(),
        size: facts.size,
        linkage: facts.linkage.clone(),
        go: facts.go.clone(),
        facts: plugin.program()?,
        license: None,
        supplier: None,
        cni_versions: None,
        level: Level::None,
        checksum,
        signed: taken.signed().map(LockedSigned::of),
        reproduced: None,
    };
    Ok(entry.with_proof_of(old, kept).with_level(kept))
}

/// An entry with what the definition states of its source.
pub(super) fn described(mut entry: LockedPlugin, definition: &Definition) -> LockedPlugin {
    if let Some(source) = definition.source_of(&entry.name) {
        let SourceDescription { license, supplier, .. } = &source.description;
        entry.license = license.as_ref().map(ToString::to_string);
        entry.supplier = supplier.as_ref().map(ToString::to_string);
    }
    entry
}

/// Why a plugin is not the one that is locked; `None` if it is.
pub(super) fn unlocked(
    lock: &BundleLock,
    platform: &Platform,
    plugin: &Plugin,
) -> Result<Option<LockError>, SourceError> {
    let (name, platform) = (plugin.facts.name.clone(), platform.clone());
    let Some(entry) = lock.entry(&platform, &name) else {
        return Ok(Some(LockError::Missing { name, platform }));
    };
    let taken = plugin.taken();
    let member = taken.artefact().and(taken.origin().member.as_deref());
    let (program, sha512) = (plugin.program()?, plugin.sha512());
    let differs = entry
        .differs_in_module(taken.module().map(|module| module.sum))
        .or_else(|| entry.differs(&plugin.facts, &program, &sha512, member, taken.image()));
    Ok(differs.map(|what| LockError::Differs { name, platform, what }))
}

/// The digests that a lock fixes of what is kept in the cache: of assets, and of programs that are
/// compiled.
pub fn pins(lock: &BundleLock) -> impl Iterator<Item = (Wanted, Digest)> {
    lock.plugins.iter().filter_map(|entry| {
        let wanted = Wanted { platform: entry.platform.clone(), name: entry.name.clone() };
        let compiled = entry.request.build.as_ref().map(|_| entry.digest);
        Some((wanted, compiled.or(entry.artefact.map(|artefact| artefact.digest))?))
    })
}

/// What the references of images named when they were locked.
pub fn roots(lock: &BundleLock) -> impl Iterator<Item = (Wanted, Digest)> {
    lock.plugins.iter().filter_map(|entry| {
        let wanted = Wanted { platform: entry.platform.clone(), name: entry.name.clone() };
        Some((wanted, entry.root()?))
    })
}

/// The SHA-512 of the assets whose evidence in a lock lists that.
pub fn sums(lock: &BundleLock) -> impl Iterator<Item = (Wanted, Sha512)> {
    lock.plugins.iter().filter_map(|entry| {
        let wanted = Wanted { platform: entry.platform.clone(), name: entry.name.clone() };
        Some((wanted, entry.checksum.as_ref()?.sha512?))
    })
}
