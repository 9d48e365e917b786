//! Building a published program again, from the recipe of its source.
//!
//! The same steps, flags and environment as for a source of kind `go`, with fresh caches: nothing
//! that was downloaded or compiled before can have an influence. An archive of sources is unpacked
//! into the work directory and compiled with its `vendor` directory, without a network. Without
//! `-trimpath`, the compiler runs in a [`Room`] in which the source is where it was.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::GoError;
use super::build::{Build, Caches, command, flags};
use super::command::{GoCommand, MODULES, Run};
use super::room::Room;
use super::work::Work;
use crate::bundle::definition::source::{Asset, GoModule, RecipeRequest, RecipeSource};
use crate::bundle::definition::{SourceKind, SourceName};
use crate::bundle::{ModuleSum, Origin, read_source_files};
use crate::publish::source::asset::{OpenAsset, shown};
use crate::publish::source::from_start::Hashing;
use crate::publish::source::requested::RequestedPlugins;
use crate::publish::source::{AssetError, Fetch, Plugin, SourceError, Taken, Wanted};

/// How much of an archive is read at a time.
const BUFFER: usize = 256 * 1024;

/// The programs of one source, which are built again.
pub(in crate::publish::source) struct Rebuild<'a> {
    pub(in crate::publish::source) name: &'a SourceName,
    pub(in crate::publish::source) kind: &'a SourceKind,
    /// The folder of the definition.
    pub(in crate::publish::source) folder: &'a Path,
    pub(in crate::publish::source) fetch: &'a Fetch,
}

/// A plugin that was built again.
pub(in crate::publish) struct RebuiltPlugin {
    pub(in crate::publish) recipe: RecipeRequest,
    /// The sum of its module, if it was built from one.
    pub(in crate::publish) module_sum: Option<ModuleSum>,
    pub(in crate::publish) plugin: Plugin,
}

impl Rebuild<'_> {
    /// Builds each of these plugins and hands it over. A source without a recipe builds none.
    pub(in crate::publish::source) fn build(
        &self,
        wanted: &[&Wanted],
        give: &mut dyn FnMut(&Wanted, RebuiltPlugin) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let Some(asset) = self.kind.asset() else { return Ok(()) };
        let with_recipe: Vec<(&Wanted, RecipeRequest)> = wanted
            .iter()
            .filter_map(|wanted| Some((*wanted, asset.recipe(&wanted.platform, &wanted.name)?)))
            .collect();
        // But for its package, it is the same for all.
        let Some((_, first)) = with_recipe.first().cloned() else { return Ok(()) };
        let all: Vec<&Wanted> = with_recipe.iter().map(|(wanted, _)| *wanted).collect();
        let build = self.prepare(asset, &first).map_err(|it| self.failed(&all, &first, it))?;
        for (wanted, recipe) in with_recipe {
            let Wanted { name, platform } = wanted;
            (self.fetch.announce)(&format!("compiling {name} for {platform} by its recipe"));
            let failed = |problem| self.failed(&[wanted], &recipe, problem);
            build.download(&recipe.package, wanted).map_err(failed)?;
            let file = build.compile(&recipe.package, platform).map_err(failed)?;
            let origin = Origin {
                location: shown(&recipe.location, self.folder),
                member: Some(recipe.package.clone()),
            };
            let plugin = Plugin::describe(wanted, Taken::of(file, origin)?, self.fetch)?;
            let module_sum = build.module.as_ref().map(|module| module.sum);
            give(wanted, RebuiltPlugin { recipe, module_sum, plugin })?;
        }
        build.expect_uninterrupted().map_err(|it| self.failed(&all, &first, it))
    }

    fn prepare(&self, asset: &Asset, request: &RecipeRequest) -> Result<Build, GoError> {
        match asset.reproduce.as_ref().map(|recipe| &recipe.source) {
            Some(RecipeSource::Go(module, sum)) => self.of_module(module, *sum, request),
            _ => self.of_archive(request),
        }
    }

    /// Downloads a module, which the checksum database knows or the recipe pins.
    fn of_module(
        &self,
        module: &GoModule,
        pinned: Option<ModuleSum>,
        request: &RecipeRequest,
    ) -> Result<Build, GoError> {
        let mut build = Build::prepare(module, self.fetch, Caches::Fresh)?;
        let found = build.module.as_ref().map(|module| module.sum);
        if let (Some(expected), Some(found)) = (pinned, found)
            && expected != found
        {
            return Err(GoError::Pinned { expected, found });
        }
        let trimmed = &["-trimpath", "-mod=readonly"];
        let mode = if request.is_trimmed() { &trimmed[..] } else { &["-mod=readonly"] };
        build.flags = flags(&request.build, mode);
        if let Some(there) = &request.directory {
            let mut room = room(&build.command, request)?;
            room.put_modules(build.command.go_path(Run::default()).join(MODULES), there)?;
            build.room = Some(room);
        }
        Ok(build)
    }

    /// Unpacks an archive of sources, which the recipe pins.
    fn of_archive(&self, request: &RecipeRequest) -> Result<Build, GoError> {
        let command = command(&request.build, self.fetch, Caches::Fresh)?;
        let source = command.work.create(Work::SOURCE)?;
        if let Some(digest) = request.sha256 {
            let archive = self.fetch.open_pinned(&request.location, self.folder, digest);
            let archive = archive.map_err(|problem| GoError::Archive(Box::new(problem)))?;
            unpack(&archive, request.inside.as_deref(), &source)?;
        }
        let mode =
            if request.is_trimmed() { &["-trimpath", "-mod=vendor"][..] } else { &["-mod=vendor"] };
        let flags = flags(&request.build, mode);
        let (directory, room) = match &request.directory {
            None => (source, None),
            Some(there) => {
                let mut room = room(&command, request)?;
                room.put(source, there)?;
                (PathBuf::from(there), Some(room))
            }
        };
        let directory = Some(directory);
        Ok(Build { command, flags, module: None, license: None, directory, room })
    }

    fn failed(&self, wanted: &[&Wanted], recipe: &RecipeRequest, problem: GoError) -> SourceError {
        let location = shown(&recipe.location, self.folder);
        let module = match &recipe.version {
            Some(version) => format!("{location}@{version}"),
            None => location,
        };
        let asked = RequestedPlugins::of(self.name, wanted);
        SourceError::Go { asked, module, problem: Box::new(problem) }
    }
}

impl Build {
    /// Downloads the modules that a package needs, for a room that has no network.
    fn download(&self, package: &str, wanted: &Wanted) -> Result<(), GoError> {
        if self.room.is_none() || self.module.is_none() {
            return Ok(());
        }
        let run = Run { platform: Some(&wanted.platform), ..Run::default() };
        let tags = self.flags.iter().filter(|flag| flag.starts_with("-tags="));
        let flags = ["-mod=readonly", "-deps"].into_iter().chain(tags.map(String::as_str));
        self.command.run("list", flags.chain(["--", package]), run).map(drop)
    }
}

/// A room with the Go of this machine.
fn room(command: &GoCommand, request: &RecipeRequest) -> Result<Room, GoError> {
    let goroot = command.run("env", ["GOROOT"], Run::default())?;
    let goroot = PathBuf::from(String::from_utf8_lossy(&goroot).trim());
    let root = command.work.create(Work::ROOM)?;
    let work = command.work.path("");
    Ok(Room::new(root, &work, &goroot, request.goroot.as_deref()))
}

/// Unpacks an archive into an empty directory, and finds out whether it still is the one that was
/// hashed. Paths in it are relative and have no `..`, and no link is made.
fn unpack(archive: &OpenAsset, inside: Option<&str>, into: &Path) -> Result<(), GoError> {
    let failed = |problem| GoError::Archive(Box::new(problem));
    let mut input = Hashing::of(&archive.file);
    read_source_files(BufReader::with_capacity(BUFFER, &mut input), inside, |path, content| {
        let path = into.join(path);
        write(&path, content).map_err(|source| GoError::Unpack { path, source })
    })?;
    io::copy(&mut input, &mut io::sink()).map_err(|error| failed(AssetError::Read(error)))?;
    match input.finish() == (archive.artefact.digest, archive.artefact.size) {
        true => Ok(()),
        false => Err(failed(AssetError::Changed)),
    }
}

fn write(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    io::copy(content, &mut File::create_new(path)?).map(drop)
}
