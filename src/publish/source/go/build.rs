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
use super::command::{GoCommand, find, shortened};
use super::interrupt::Interrupt;
use super::work::Work;
use crate::bundle::ModuleSum;
use crate::bundle::definition::source::{GoModule, GoRequest};
use crate::model::{Platform, json};
use crate::publish::source::Fetch;

/// The main module of every build. Nothing of it is in a program.
const MAIN: &str = "cnister.invalid/build";
/// The longest go.mod, which is Go's own limit, and the longest go.sum.
const LIMIT: u64 = 16 << 20;

/// A module that is ready to be compiled.
#[derive(Debug)]
pub(super) struct Build {
    command: GoCommand,
    flags: Vec<String>,
    sum: ModuleSum,
}

/// What `go mod download -json` prints.
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

/// What is read of `go mod edit -json`.
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
    /// 2. The module is downloaded, and its sum compared with the checksum database.
    /// 3. A main module requires it, with the requirements and the sums of the module itself.
    /// 4. Every module that is in the cache is compared with its sum (`go mod verify`). What is
    ///    downloaded after that is compared by the download.
    pub(super) fn prepare(module: &GoModule, fetch: &Fetch) -> Result<Self, GoError> {
        let request = module.request();
        let command = command(module, &request, fetch)?;
        // 1.
        let found = command.run("env", ["GOVERSION"], None)?;
        let found = String::from_utf8_lossy(&found).trim().to_owned();
        if found != request.toolchain {
            let (wanted, program) = (request.toolchain, command.program.clone());
            return Err(GoError::Release { wanted, found: shortened(&found), program });
        }
        // 2.
        (fetch.announce)(&format!("fetching {}@{}", module.module, module.version));
        let download = download(&command, module)?;
        let sum = download.sum.parse()?;
        // 3.
        require(&command, module, &download)?;
        // 4.
        command.run("mod verify", [], None)?;
        Ok(Self { command, flags: flags(&request), sum })
    }

    /// The sum of the module.
    pub(super) fn sum(&self) -> ModuleSum {
        self.sum
    }

    /// Compiles a package for a platform, and opens the program.
    pub(super) fn compile(&self, package: &str, platform: &Platform) -> Result<File, GoError> {
        let work = &self.command.work;
        let result = work.create(Work::RESULT)?;
        // With a directory, a package that is not a program is an error.
        let output = format!("-o=../{}/", Work::RESULT);
        let flags = self.flags.iter().map(String::as_str);
        let arguments = flags.chain([output.as_str(), "--", package]);
        self.command.run("build", arguments, Some(platform)).map_err(|error| match error {
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

/// The command, before anything is known of it.
fn command(module: &GoModule, request: &GoRequest, fetch: &Fetch) -> Result<GoCommand, GoError> {
    let wanted = || request.toolchain.clone();
    let program =
        find(fetch.go.path.as_deref()).ok_or_else(|| GoError::NoProgram { wanted: wanted() })?;
    let run = |source| GoError::Run { program: program.clone(), source };
    // Before there is a directory to leave behind.
    let interrupt = Interrupt::new().map_err(run)?;
    Ok(GoCommand {
        work: Work::new(&fetch.client.settings().temporary)?,
        cache: fetch.cache.directory("go")?,
        proxy: fetch.go.proxy.clone(),
        has_sumdb: module.has_sumdb(),
        interrupt,
        program,
    })
}

fn download(command: &GoCommand, module: &GoModule) -> Result<Download, GoError> {
    let verb = "mod download";
    let wanted = format!("{}@{}", module.module, module.version);
    let arguments = ["-json", "--", wanted.as_str()];
    let (status, printed, said) = command.run_unjudged(verb, arguments, None)?;
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
    let printed = command.run("mod edit", ["-json"], None)?;
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
    command.run("mod edit", [main.as_str(), "-toolchain=none", wanted.as_str()], None)?;
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

/// The flags of every package. The linker's are one flag; no value has a quote.
fn flags(request: &GoRequest) -> Vec<String> {
    let mut flags: Vec<String> =
        ["-trimpath", "-mod=readonly", "-buildvcs=false"].map(str::to_owned).to_vec();
    if !request.tags.is_empty() {
        flags.push(format!("-tags={}", request.tags.join(",")));
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
            without_sumdb: false,
        };
        let always = ["-trimpath", "-mod=readonly", "-buildvcs=false"];
        assert_eq!(flags(&plain), always);
        let more = GoRequest {
            tags: vec!["netgo".to_owned(), "osusergo".to_owned()],
            variables: [
                ("main.a".to_owned(), "b c".to_owned()),
                ("x.io/y.z".to_owned(), String::new()),
            ]
            .into(),
            strip: true,
            ..plain
        };
        let linker = "-ldflags=-s -w -X 'main.a=b c' -X 'x.io/y.z='";
        let expected: Vec<&str> =
            always.into_iter().chain(["-tags=netgo,osusergo", linker]).collect();
        assert_eq!(flags(&more), expected);
    }
}
