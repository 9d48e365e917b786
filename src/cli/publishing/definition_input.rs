//! A definition as a verb gets it, and what its sources fetch with. `build` and `lock` share it.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::bundle::Definition;
use crate::bundle::definition::source::KeyContent;
use crate::cli::policy::{cannot_read, read_text};
use crate::cli::terminal::{Failure, Terminal};
use crate::model::Digest;
use crate::publish::{Cache, Fetch, GoProxy, GoSettings};
use crate::trust::Key;

/// Reads and parses the definition at this path; also returns the digest of its text.
pub(super) fn read_definition(path: &Path) -> Result<(Definition, Digest), Failure> {
    let text = read_text(path).map_err(|error| cannot_read(path, &error))?;
    let mut definition =
        Definition::parse(&path.display().to_string(), &text).map_err(Failure::request)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    definition.read_keys(|key| read_key(&folder.join(key)))?;
    Ok((definition, Digest::of(text.as_bytes())))
}

/// Reads the public key of a publisher.
fn read_key(path: &Path) -> Result<KeyContent, Failure> {
    let pem = read_text(path).map_err(|error| cannot_read(path, &error))?;
    let key = Key::parse(&pem)
        .map_err(|error| Failure::request(format!("`{}`: {error}", path.display())))?;
    Ok(KeyContent { fingerprint: key.fingerprint(), pem })
}

/// Where downloads are kept.
#[derive(Args)]
pub(super) struct CacheArgument {
    /// The directory that keeps downloads, by digest [default: cnister in XDG_CACHE_HOME].
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

impl CacheArgument {
    /// The cache.
    pub(super) fn cache(&self) -> Cache {
        let user = |name| std::env::var_os(name);
        match &self.cache_dir {
            Some(directory) => Cache::at(directory),
            None => Cache::of_user(user("XDG_CACHE_HOME"), user("HOME")),
        }
    }
}

/// Where downloads are kept, and where Go modules come from.
#[derive(Args)]
pub(super) struct FetchArguments {
    #[command(flatten)]
    cache: CacheArgument,
    /// The proxies to fetch Go modules from, in the syntax of GOPROXY, without `direct`; with
    /// `off`, only cached modules are used. The environment's GOPROXY is ignored [default: the
    /// default of the Go release].
    #[arg(long, value_name = "URL")]
    goproxy: Option<GoProxy>,
}

impl FetchArguments {
    /// What sources fetch with.
    pub(super) fn fetch(&self, terminal: Terminal) -> Fetch {
        let mut fetch = Fetch::new(self.cache.cache());
        fetch.go = GoSettings { path: std::env::var_os("PATH"), proxy: self.goproxy.clone() };
        fetch.announce = Box::new(move |line| terminal.remark(line));
        fetch
    }
}
