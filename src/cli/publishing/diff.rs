//! `diff`: shows the differences between two bundles. Nothing is verified; `verify` does that.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;

use super::definition_input::read_definition;
use crate::attest::{Contents, Difference};
use crate::cli::image::{self, Image};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Reference, visible};
use crate::publish::{ContainedImage, LockFile};

/// Shows what differs between two bundles: plugins, versions, toolchains, linked modules, sizes.
///
/// Each is an image, a definition (its lock is read) or a lock (`*.lock.json`). If both are images,
/// the modules that a changed plugin links are read from the plugin itself. Nothing is verified.
/// The exit code is 0 even if they differ. `--format markdown` is for pull requests.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The old bundle.
    #[arg(value_name = "OLD")]
    old: String,
    /// The new bundle.
    #[arg(value_name = "NEW")]
    new: String,
    /// Exit with code 1 if they differ.
    #[arg(long)]
    exit_code: bool,
    /// Do not read the plugins: no layer is fetched, and linked modules are not compared.
    #[arg(long)]
    no_modules: bool,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let (old, new) = (Opened::of(&arguments.old)?, Opened::of(&arguments.new)?);
    let (mut old, mut new) = (old.contents(terminal)?, new.contents(terminal)?);
    if let (Read::Image(old), Read::Image(new), false) = (&mut old, &mut new, arguments.no_modules)
    {
        let differs = old.contents.plugins.iter().filter(|(key, plugin)| {
            let other = new.contents.plugins.get(key);
            other.is_some_and(|other| other.digest != plugin.digest)
        });
        let wanted: BTreeSet<_> = differs.map(|(key, _)| key.clone()).collect();
        for image in [old, new] {
            image.read_modules(&wanted, &std::env::temp_dir()).map_err(Failure::classed)?;
        }
    }
    let difference = Difference::between(old.as_contents(), new.as_contents());
    terminal.answer_or_markdown(&difference, || difference.markdown())?;
    Ok(if arguments.exit_code && !difference.is_empty() { Exit::No } else { Exit::Yes })
}

/// An argument: a lock or an image.
enum Opened<'a> {
    /// The lock of this definition, or this lock.
    Lock(&'a str),
    Image(&'a str, Image),
}

/// The contents that were read.
enum Read<'a> {
    Lock(Contents),
    Image(ContainedImage<'a>),
}

impl<'a> Opened<'a> {
    fn of(text: &'a str) -> Result<Self, Failure> {
        let extension = Path::new(text).extension().and_then(|it| it.to_str());
        let is_layout = text.starts_with("oci:") || text.starts_with("oci-archive:");
        if !is_layout && matches!(extension, Some("yaml" | "yml" | "json")) {
            return Ok(Self::Lock(text));
        }
        let reference: Reference = text.parse().map_err(Failure::request)?;
        Ok(Self::Image(text, image::open_published(&reference)?))
    }

    fn contents(&self, terminal: &Terminal) -> Result<Read<'_>, Failure> {
        let (text, image) = match self {
            Self::Lock(text) => return Ok(Read::Lock(locked(text, terminal)?)),
            Self::Image(text, image) => (text, image),
        };
        let contained =
            ContainedImage::read(image.source.as_ref(), &image.root, (*text).to_owned());
        Ok(Read::Image(contained.map_err(Failure::classed)?))
    }
}

impl Read<'_> {
    fn as_contents(&self) -> &Contents {
        match self {
            Self::Lock(contents) => contents,
            Self::Image(image) => &image.contents,
        }
    }
}

/// The contents of a lock, given by its own path or its definition's.
fn locked(text: &str, terminal: &Terminal) -> Result<Contents, Failure> {
    let path = Path::new(text);
    let (file, is_definition) = match LockFile::at(path) {
        Some(file) => (file, false),
        None => (LockFile::beside(path), true),
    };
    let Some((lock, kept)) = file.read().map_err(Failure::classed)? else {
        let message = format!("there is no `{}`", file.path().display());
        let definition = if is_definition { text } else { "BUNDLE.yaml" };
        let hint = format!("run `cnister lock {}`", visible(definition));
        return Err(Failure::request(message).hint(hint));
    };
    if is_definition && !lock.problems(&read_definition(path)?.0, &kept).is_empty() {
        terminal.remark(&format!(
            "`{}` does not match its definition; to see why, run `cnister lock --check {}`",
            file.path().display(),
            path.display()
        ));
    }
    Ok(Contents::of_lock(text.to_owned(), &lock))
}
