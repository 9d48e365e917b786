//! `init`: writes a first definition and policy. An existing file is never overwritten.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use semver::Version;
use serde::Serialize;

use super::new_file::{NewFile, write_new};
use crate::bundle::Definition;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{BundleName, Platform, PluginName, Repository, visible};
use crate::publish::{FirstFiles, FirstSource};

/// Writes a first definition and policy, each with comments: bundle.yaml and policy.yaml.
///
/// For example: cnister init base --upstream 1.9.1 --image ghcr.io/acme/cni
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The name of the bundle.
    #[arg(value_name = "NAME")]
    name: BundleName,
    /// Take the plugins from the release archives of containernetworking/plugins, of this version.
    #[arg(long, value_name = "VERSION", value_parser = version, required_unless_present = "directory")]
    upstream: Option<Version>,
    /// Take the plugins from this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "upstream")]
    directory: Option<String>,
    /// A plugin; may be repeated.
    #[arg(
        long = "plugin",
        value_name = "PLUGIN",
        value_delimiter = ',',
        default_value = "bridge,dhcp,host-device,host-local,ipvlan,loopback,macvlan,portmap,static"
    )]
    plugins: Vec<PluginName>,
    /// A platform; may be repeated.
    #[arg(
        long = "platform",
        value_name = "PLATFORM",
        value_delimiter = ',',
        default_value = "linux/amd64"
    )]
    platforms: Vec<Platform>,
    /// The repository that nodes will pull the image from; the policy allows only this one.
    #[arg(long, value_name = "REPO")]
    image: Repository,
    /// The directory that both files are written to.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    definition: PathBuf,
    policy: PathBuf,
    #[serde(skip)]
    needs_lock: bool,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let source = match (&arguments.upstream, &arguments.directory) {
        (Some(version), _) => FirstSource::Upstream(version.clone()),
        (None, directory) => FirstSource::Directory(directory.clone().unwrap_or_default()),
    };
    let files = FirstFiles {
        name: arguments.name.clone(),
        source,
        plugins: arguments.plugins.clone(),
        platforms: arguments.platforms.clone(),
        image: arguments.image.clone(),
    };
    let at = |name: &str| match arguments.output.as_os_str() == "." {
        true => PathBuf::from(name),
        false => arguments.output.join(name),
    };
    let (definition, policy) = (at("bundle.yaml"), at("policy.yaml"));
    for path in [&definition, &policy] {
        if fs::symlink_metadata(path).is_ok() {
            let message = format!("`{}` already exists", visible(&path.to_string_lossy()));
            return Err(Failure::request(message).hint("choose another directory with --output"));
        }
    }
    // A directory can have a placeholder that there is not, or lack the one that platforms need.
    Definition::parse("bundle.yaml", &files.definition()).map_err(Failure::request)?;
    write_new([
        NewFile { path: &definition, content: &files.definition(), mode: 0o666 },
        NewFile { path: &policy, content: &files.policy(), mode: 0o666 },
    ])?;
    let needs_lock = arguments.upstream.is_some();
    terminal.answer(&Report { definition, policy, needs_lock })?;
    Ok(Exit::Yes)
}

/// A version, with or without the `v` of a tag.
fn version(text: &str) -> Result<Version, semver::Error> {
    text.strip_prefix('v').unwrap_or(text).parse()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [definition, policy] = [&self.definition, &self.policy]
            .map(|path| visible(&path.to_string_lossy()).into_owned());
        writeln!(f, "definition: {definition}\npolicy:     {policy}")?;
        writeln!(f, "next:")?;
        if self.needs_lock {
            writeln!(f, "  cnister lock {definition}")?;
        }
        writeln!(f, "  cnister build {definition} -o layout")?;
        writeln!(f, "  cnister keygen")?;
        write!(f, "  cnister sign --key cosign.key oci:layout")
    }
}
