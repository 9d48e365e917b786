//! Plugins that are compiled from a Go module, for each platform.
//!
//! This is the only kind of source that starts a process, and the process is always the `go`
//! command of the machine: a definition says what is compiled and names no program and no flag.
//! Compiling a module executes nothing of it: cgo, `go generate`, version control and tools are
//! off, and the compiler sees none of the caller's environment ([`command`]). A result that the
//! lock pins and the cache has is not compiled again.

mod build;
mod command;
mod error;
mod interrupt;
mod recipe;
mod room;
mod settings;
mod work;

use self::build::{Build, Caches};
use super::requested::RequestedPlugins;
use super::{Fetch, PluginSource, SourceError, Taken, Wanted};
use crate::bundle::Origin;
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::GoModule;

pub use error::GoError;
pub(super) use recipe::Rebuild;
pub(in crate::publish) use recipe::RebuiltPlugin;
pub use room::{ROOM_COMMAND, enter_room};
pub use settings::{GoProxy, GoSettings, ParseProxyError};

/// Packages of a module.
pub(super) struct GoSource<'a> {
    pub(super) name: &'a SourceName,
    pub(super) module: &'a GoModule,
    pub(super) fetch: &'a Fetch,
}

impl PluginSource for GoSource<'_> {
    fn take(
        &self,
        wanted: &[Wanted],
        give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut missing = Vec::new();
        for wanted in wanted {
            match self.kept(wanted)? {
                Some(taken) => give(wanted, taken)?,
                None => missing.push(wanted),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let build = Build::prepare(self.module, self.fetch, Caches::Kept)
            .map_err(|problem| self.failed(&missing, problem))?;
        for &wanted in &missing {
            (self.fetch.announce)(&format!("compiling {} for {}", wanted.name, wanted.platform));
            let package = self.module.package(&wanted.name);
            let file = build
                .compile(&package, &wanted.platform)
                .map_err(|problem| self.failed(&[wanted], problem))?;
            let mut taken = Taken::of(file, self.origin(wanted))?;
            self.fetch
                .cache
                .keep(&taken.file, taken.digest)
                .map_err(|problem| self.failed(&[wanted], problem.into()))?;
            taken.module.clone_from(&build.module);
            taken.license = build.license().cloned();
            give(wanted, taken)?;
        }
        build.expect_uninterrupted().map_err(|problem| self.failed(&missing, problem))
    }
}

impl GoSource<'_> {
    /// The program that the lock pins, if it was compiled before.
    fn kept(&self, wanted: &Wanted) -> Result<Option<Taken>, SourceError> {
        let Some(digest) = self.fetch.pins.get(wanted) else { return Ok(None) };
        let found = self.fetch.cache.find(*digest);
        let found = found.map_err(|problem| self.failed(&[wanted], problem.into()))?;
        found.map(|file| Taken::of_digest(file, self.origin(wanted), *digest)).transpose()
    }

    fn origin(&self, wanted: &Wanted) -> Origin {
        Origin { location: self.location(), member: Some(self.module.package(&wanted.name)) }
    }

    fn location(&self) -> String {
        format!("{}@{}", self.module.module, self.module.version)
    }

    fn failed(&self, wanted: &[&Wanted], problem: GoError) -> SourceError {
        SourceError::Go {
            asked: RequestedPlugins::of(self.name, wanted),
            module: self.location(),
            problem: Box::new(problem),
        }
    }
}
