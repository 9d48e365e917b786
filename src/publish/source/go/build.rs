//! The steps of a build: the release of Go, the module, its sums, the programs.
//!
//! A module is not compiled in its own directory, where it would have no version. It is required
//! by a main module of a work directory that has the same requirements, so that the linker records
//! the module's path, version and sum, and the same versions of all modules are chosen as in the
//! module itself.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::GoError;
use super::command::{GoCommand, MODULES, Run, find, shortened};
use super::interrupt::Interrupt;
use super::room::Room;
use super::settings::GoProxy;
use super::work::Work;
use crate::bundle::definition::source::{GoModule, GoRequest};
use crate::bundle::{CompiledModule, FoundLicense, ModuleSum, SUM_DATABASE, SumProof};
use crate::model::{Platform, json};
use crate::publish::source::license::license_in;
use crate::publish::source::{Evidence, Fetch};

/// The main module of every build. Nothing of it is in a program.
const MAIN: &str = "cnister.invalid/build";
/// The longest go.mod, which is Go's own limit, and the longest go.sum.
const LIMIT: u64 = 16 << 20;

/// A module that is ready to be compiled.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) command: GoCommand,
    pub(super) flags: Vec<String>,
    /// The module, if it was downloaded as one.
    pub(super) module: Option<CompiledModule>,
    /// What its own files say of its licence.
    pub(super) license: Option<FoundLicense>,
    /// The directory that is compiled in; by default, that of the main module.
    pub(super) directory: Option<PathBuf>,
    /// The view of the file system in which it is compiled.
    pub(super) room: Option<Room>,
}

/// Which results of earlier runs are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caches {
    /// Modules that were downloaded, and packages that were compiled.
    Kept,
    /// None.
    Fresh,
}

/// The output of `go mod download -json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Download {
    path: String,
    version: String,
    error: String,
    go_mod: PathBuf,
    dir: PathBuf,
    sum: String,
    go_mod_sum: String,
}

/// The fields that are read from the output of `go mod edit -json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mod {
    #[serde(default)]
    replace: Option<Vec<Replace>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replace {
    old: Replaced,
    new: Replaced,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replaced {
    path: String,
    #[serde(default)]
    version: String,
}

impl Build {
    /// Downloads a module and verifies it:
    ///
    /// 1. The release of Go is the wanted one.
    /// 2. The module is downloaded, and its sum compared with the checksum database. A lock asks
    ///    for both again, whatever the caches have, and keeps the proof.
    /// 3. A main module requires it, with the requirements and the sums of the module itself.
    /// 4. Every module that is in the cache is compared with its sum (`go mod verify`). What is
    ///    downloaded after that is compared by the download.
    pub(super) fn prepare(
        module: &GoModule,
        fetch: &Fetch,
        caches: Caches,
    ) -> Result<Self, GoError> {
        let request = module.request();
        // 1.
        let mut command = command(&request, fetch, caches)?;
        if command.proxy.is_none() {
            let default = command.run("env", ["GOPROXY"], Run::default())?;
            let default = GoProxy::of_release(&String::from_utf8_lossy(&default));
            command.proxy = Some(default.ok_or(GoError::NoProxy)?);
        }
        // 2.
        (fetch.announce)(&format!("fetching {}@{}", module.module, module.version));
        let is_asked = fetch.evidence == Evidence::Collect
            && !command.proxy.as_ref().is_some_and(GoProxy::is_off);
        let fresh = is_asked.then(|| download_again(&command, module)).transpose()?;
        let download = download(&command, module, Run::default())?;
        let cached: ModuleSum = download.sum.parse()?;
        let of_module = fresh.unwrap_or(CompiledModule { sum: cached, proof: None });
        if of_module.sum != cached {
            let cache = command.go_path(Run::default()).join(MODULES);
            return Err(GoError::Republished { cached, found: of_module.sum, cache });
        }
        // 3.
        require(&command, module, &download)?;
        // 4.
        command.run("mod verify", [], Run::default())?;
        // Its files are covered by its sum.
        let license = license_in(&download.dir);
        let flags = flags(&request, &["-trimpath", "-mod=readonly"]);
        let module = Some(of_module);
        Ok(Self { command, flags, module, license, directory: None, room: None })
    }

    /// What the module's own files say of its licence.
    pub(super) fn license(&self) -> Option<&FoundLicense> {
        self.license.as_ref()
    }

    /// Whether it may go on: an interruption while nothing ran counts as well.
    pub(super) fn expect_uninterrupted(&self) -> Result<(), GoError> {
        match self.command.interrupt.has_signal() {
            true => Err(GoError::Interrupted),
            false => Ok(()),
        }
    }

    /// Compiles a package for a platform, and opens the program.
    pub(super) fn compile(&self, package: &str, platform: &Platform) -> Result<File, GoError> {
        let work = &self.command.work;
        let result = work.create(Work::RESULT)?;
        // With a directory, a package that is not a program is an error.
        let output = format!("-o={}/", result.display());
        let flags = self.flags.iter().map(String::as_str);
        let arguments = flags.chain([output.as_str(), "--", package]);
        let (directory, room) = (self.directory.as_deref(), self.room.as_ref());
        let run = Run { platform: Some(platform), directory, room, is_fresh: false };
        self.command.run("build", arguments, run).map_err(|error| match error {
            GoError::Failed { said, .. } if said.ends_with("no main packages to build") => {
                GoError::NotAProgram(package.to_owned())
            }
            other => other,
        })?;
        let failed = |source| GoError::Work { path: result.clone(), source };
        let mut programs = fs::read_dir(&result).map_err(failed)?;
        match programs.next() {
            Some(program) => File::open(program.map_err(failed)?.path()).map_err(failed),
            None => Err(GoError::NotAProgram(package.to_owned())),
        }
    }
}

/// The command, if it is of the wanted release of Go.
pub(super) fn command(
    request: &GoRequest,
    fetch: &Fetch,
    caches: Caches,
) -> Result<GoCommand, GoError> {
    let wanted = || request.toolchain.clone();
    let program =
        find(fetch.go.path.as_deref()).ok_or_else(|| GoError::NoProgram { wanted: wanted() })?;
    let run = |source| GoError::Run { program: program.clone(), source };
    // Before there is a directory to leave behind.
    let interrupt = Interrupt::new().map_err(run)?;
    let command = GoCommand {
        work: Work::new(&fetch.client.settings().temporary)?,
        cache: fetch.cache.go()?,
        proxy: fetch.go.proxy.clone(),
        has_sumdb: !request.without_sumdb,
        is_fresh: caches == Caches::Fresh,
        interrupt,
        program,
    };
    start_module(&command)?;
    let found = command.run("env", ["GOVERSION"], Run::default())?;
    let found = String::from_utf8_lossy(&found).trim().to_owned();
    match found == request.toolchain {
        true => Ok(command),
        false => {
            let program = command.program.clone();
            Err(GoError::Release { wanted: wanted(), found: shortened(&found), program })
        }
    }
}

/// Downloads a module without what is known of it, and proves its sum. Without a proof, the level
/// says so.
fn download_again(command: &GoCommand, module: &GoModule) -> Result<CompiledModule, GoError> {
    let run = Run { is_fresh: true, ..Run::default() };
    let sum = download(command, module, run)?.sum.parse()?;
    let databases = command.go_path(run).join(MODULES).join("cache/download/sumdb");
    let database = databases.join(SUM_DATABASE);
    let (path, version) = (module.module.to_string(), module.version.to_string());
    let answer = database.join("lookup").join(format!("{}@{}", escaped(&path), escaped(&version)));
    let answer = read(&answer).ok().and_then(|answer| String::from_utf8(answer).ok());
    let proof = answer.filter(|_| module.has_sumdb()).and_then(|answer| {
        let proof = SumProof::of_lookup(&answer, &|level, number| tile(&database, level, number))?;
        proof.verify(&path, &version, sum).ok()?;
        Some(proof.to_text().into_bytes())
    });
    Ok(CompiledModule { sum, proof })
}

/// A path or version as a file name: file systems may not tell letters by their case (Go Modules
/// Reference, "GOPROXY protocol").
fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_ascii_uppercase() {
        true => format!("!{}", c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A tile of the database that was downloaded, or as much of it as there is
/// (golang.org/x/mod/sumdb/tlog, `Tile.Path`).
fn tile(database: &Path, level: u32, number: u64) -> Option<Vec<u8>> {
    // Groups of three digits, all but the last behind an `x`.
    let digits = number.to_string();
    let digits = format!("{}{digits}", "0".repeat((3 - digits.len() % 3) % 3));
    let mut name = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at % 3 == 0 {
            name.push_str(if at + 3 < digits.len() { "/x" } else { "/" });
        }
        name.push(digit);
    }
    let path = database.join(format!("tile/8/{level}{name}"));
    if path.exists() {
        return read(&path).ok();
    }
    let parts = fs::read_dir(path.with_added_extension("p")).ok()?;
    let width = |part: &PathBuf| part.file_name()?.to_str()?.parse::<u16>().ok();
    let widest = parts.flatten().map(|part| part.path()).max_by_key(|part| width(part))?;
    read(&widest).ok()
}

/// Makes the directory of the main module anew. Without a go.mod in it, one of a directory above
/// would count, which others may be able to write.
fn start_module(command: &GoCommand) -> Result<(), GoError> {
    let path = command.work.create(Work::MODULE)?.join("go.mod");
    fs::write(&path, format!("module {MAIN}\n")).map_err(|source| GoError::Work { path, source })
}

fn download(command: &GoCommand, module: &GoModule, run: Run<'_>) -> Result<Download, GoError> {
    let verb = "mod download";
    let wanted = format!("{}@{}", module.module, module.version);
    // What one download writes down of its sum is not what the next one is compared with.
    start_module(command)?;
    let arguments = ["-json", "--", wanted.as_str()];
    let (status, printed, said) = command.run_unjudged(verb, arguments, run)?;
    let answer = |source| GoError::Answer { verb: verb.to_owned(), source };
    let failed = |said: &str| GoError::Failed { verb: verb.to_owned(), said: shortened(said) };
    let download: Download = match printed.is_empty() {
        true => Download::default(),
        false => json::parse(verb, &printed, printed.len()).map_err(answer)?,
    };
    if !download.error.is_empty() {
        return Err(failed(&download.error.replace('\n', "; ")));
    }
    if !status.success() {
        return Err(failed(&String::from_utf8_lossy(&said)));
    }
    let found = format!("{}@{}", download.path, download.version);
    match found == wanted {
        true => Ok(download),
        false => Err(GoError::OtherModule(shortened(&found))),
    }
}

/// Writes a main module that requires the module and what that requires. Replacements by other
/// modules are kept, as in the module's own builds.
fn require(command: &GoCommand, module: &GoModule, download: &Download) -> Result<(), GoError> {
    let main = command.work.path(Work::MODULE);
    let write = |name: &str, content: &[u8]| {
        let path = main.join(name);
        fs::write(&path, content).map_err(|source| GoError::Work { path, source })
    };
    let of_module = read(&download.go_mod)?;
    write("go.mod", &of_module)?;
    let printed = command.run("mod edit", ["-json"], Run::default())?;
    let answer = |source| GoError::Answer { verb: "mod edit".to_owned(), source };
    let described: Mod = json::parse("mod edit", &printed, printed.len()).map_err(answer)?;
    let replacements = described.replace.unwrap_or_default();
    if let Some(Replace { old, new }) = replacements.iter().find(|it| it.new.version.is_empty()) {
        let (module, directory) = (shortened(&old.path), shortened(&new.path));
        return Err(GoError::Directory { module, directory });
    }
    let (main, wanted) =
        (format!("-module={MAIN}"), format!("{}@{}", module.module, module.version));
    let wanted = format!("-require={wanted}");
    command.run("mod edit", [main.as_str(), "-toolchain=none", wanted.as_str()], Run::default())?;
    let mut sums = sums_of(&download.dir)?;
    let Download { path, version, sum, go_mod_sum, .. } = download;
    sums.extend(
        format!("\n{path} {version} {sum}\n{path} {version}/go.mod {go_mod_sum}\n").bytes(),
    );
    write("go.sum", &sums)
}

/// The go.sum of a module; a module without requirements need not have one. It is a file of the
/// module, so that the sum of the module covers it.
fn sums_of(directory: &Path) -> Result<Vec<u8>, GoError> {
    let path = directory.join("go.sum");
    match path.try_exists() {
        Ok(false) => Ok(Vec::new()),
        _ => read(&path),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, GoError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT).read_to_end(&mut content))
        .map_err(|source| GoError::Read { path: path.to_owned(), source })?;
    Ok(content)
}

/// The flags of every package, with those of the `mode` first. The linker's are one flag; no value
/// has a quote.
pub(super) fn flags(request: &GoRequest, mode: &[&str]) -> Vec<String> {
    let always = mode.iter().chain(&["-buildvcs=false"]);
    let mut flags: Vec<String> = always.map(|flag| (*flag).to_owned()).collect();
    if !request.tags.is_empty() {
        flags.push(format!("-tags={}", request.tags.join(",")));
    }
    if let Some(text) = &request.ldflags {
        flags.push(format!("-ldflags={text}"));
        return flags;
    }
    let mut linker: Vec<String> = Vec::new();
    if request.strip {
        linker.extend(["-s", "-w"].map(str::to_owned));
    }
    for (name, value) in &request.variables {
        linker.extend(["-X".to_owned(), format!("'{name}={value}'")]);
    }
    if !linker.is_empty() {
        flags.push(format!("-ldflags={}", linker.join(" ")));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_request_and_no_others() {
        let plain = GoRequest {
            toolchain: "go1.26.8".to_owned(),
            tags: Vec::new(),
            variables: [].into(),
            strip: false,
            ldflags: None,
            without_sumdb: false,
        };
        let always = ["-trimpath", "-mod=readonly", "-buildvcs=false"];
        let mode = ["-trimpath", "-mod=readonly"];
        assert_eq!(flags(&plain, &mode), always);
        assert_eq!(flags(&plain, &["-mod=vendor"]), ["-mod=vendor", "-buildvcs=false"]);
        let more = GoRequest {
            tags: vec!["netgo".to_owned(), "osusergo".to_owned()],
            variables: [
                ("main.a".to_owned(), "b c".to_owned()),
                ("x.io/y.z".to_owned(), String::new()),
            ]
            .into(),
            strip: true,
            ..plain.clone()
        };
        let verbatim = GoRequest { ldflags: Some("-X a.b='c d'".to_owned()), ..plain.clone() };
        assert_eq!(flags(&verbatim, &[]), ["-buildvcs=false", "-ldflags=-X a.b='c d'"]);
        let linker = "-ldflags=-s -w -X 'main.a=b c' -X 'x.io/y.z='";
        let expected: Vec<&str> =
            always.into_iter().chain(["-tags=netgo,osusergo", linker]).collect();
        assert_eq!(flags(&more, &mode), expected);
    }
}
