//! `diff`: what differs between two bundles. Nothing is verified; `verify` does that.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;

use super::definition_input::read_definition;
use crate::attest::{Contents, Difference};
use crate::cli::image::{self, Image};
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::Reference;
use crate::publish::{ContainedImage, LockFile};

/// Shows what differs between two bundles: plugins, versions, toolchains, linked modules, sizes.
///
/// Each is an image, a definition (its lock is read) or a lock (`*.lock.json`). Which modules a
/// plugin links is read out of the plugin, if both are images and the plugin differs; nothing is
/// verified. The exit code is 0, also if they differ. `--format markdown` is for pull requests.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The bundle of before.
    #[arg(value_name = "OLD")]
    old: String,
    /// The bundle of after.
    #[arg(value_name = "NEW")]
    new: String,
    /// End with exit code 1 if they differ.
    #[arg(long)]
    exit_code: bool,
    /// Do not read the plugins: linked modules are not compared, and no layer is fetched.
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

/// What an argument names.
enum Opened<'a> {
    /// The lock of this definition, or this lock.
    Lock(&'a str),
    Image(&'a str, Image),
}

/// What was read of it.
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
        return Err(Failure::request(message).hint("`cnister lock BUNDLE.yaml` writes it"));
    };
    if is_definition && !lock.problems(&read_definition(path)?.0, &kept).is_empty() {
        terminal.remark(&format!(
            "`{}` does not answer the definition (`cnister lock --check` says why)",
            file.path().display()
        ));
    }
    Ok(Contents::of_lock(text.to_owned(), &lock))
}
