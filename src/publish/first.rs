//! A first definition and policy, as texts with a comment for each choice. Pure.
//!
//! Every value was parsed before, so nothing has to be escaped in YAML except the path of a
//! directory, which is quoted.

use crate::model::{BundleName, Platform, PluginName, Repository};

/// The values of both files.
#[derive(Debug, Clone)]
pub struct FirstFiles {
    /// The name of the bundle.
    pub name: BundleName,
    /// Where the plugins come from.
    pub source: FirstSource,
    /// The plugins, at least one.
    pub plugins: Vec<PluginName>,
    /// The platforms, at least one.
    pub platforms: Vec<Platform>,
    /// The repository that nodes will pull the image from.
    pub image: Repository,
}

/// Where the plugins come from.
#[derive(Debug, Clone)]
pub enum FirstSource {
    /// The release archives of containernetworking/plugins, of this version (without `v`).
    Upstream(semver::Version),
    /// A directory of the machine that builds.
    Directory(String),
}

impl FirstFiles {
    /// The text of `bundle.yaml`.
    pub fn definition(&self) -> String {
        let Self { name, source, plugins, platforms, .. } = self;
        let version = self.version();
        let source = match source {
            FirstSource::Upstream(version) => format!(
                "  # Each platform's archive. `cnister lock` writes down the digest of every plugin, and\n  \
                   # `cnister build` takes nothing else.\n  \
                   - name: upstream\n    \
                     archive:\n      \
                       from: https://github.com/containernetworking/plugins/releases/download/{{version}}/cni-plugins-linux-{{architecture}}-{{version}}.tgz\n      \
                       version: v{version}\n"
            ),
            FirstSource::Directory(path) => format!(
                "  # The files are taken as they are. `cnister lock` pins them.\n  \
                   - name: local\n    \
                     directory: {}\n",
                quoted(path)
            ),
        };
        format!(
            "# The contents of the image that `cnister build bundle.yaml -o layout` builds.\n\
             apiVersion: cnister.dev/v1\n\
             kind: Bundle\n\
             # A node has one bundle, and refuses one with another name unless --replace is given.\n\
             name: {name}\n\
             # Increase it with each release: policies may refuse older versions.\n\
             version: {version}\n\
             platforms: [{}]\n\
             sources:\n\
             {source}\
             # The files in /opt/cni/bin: the plugins that your CNI configurations name as `type`.\n\
             plugins:\n{}",
            joined(platforms),
            plugins.iter().map(|plugin| format!("  - {plugin}\n")).collect::<String>()
        )
    }

    /// The text of `policy.yaml`.
    pub fn policy(&self) -> String {
        let Self { name, plugins, image, .. } = self;
        let version = self.version();
        format!(
            "# Who may sign the plugins that nodes run. Rules are read from top to bottom: the first one\n\
             # whose `images` match decides, and an image that no rule matches is refused.\n\
             apiVersion: cnister.dev/v1\n\
             kind: Policy\n\
             rules:\n\
             \x20 - name: {name}\n\
             \x20   # The repository, without a tag.\n\
             \x20   images: [\"{image}\"]\n\
             \x20   # Signers of this rule may sign only this bundle and these plugins.\n\
             \x20   bundles: [{name}]\n\
             \x20   plugins: [{}]\n\
             \x20   authorities:\n\
             \x20     - name: release-key\n\
             \x20       # Beside this file; `cnister keygen` writes it, and cosign's keys work as well.\n\
             \x20       key: {{ file: cosign.pub }}\n\
             \x20   # The oldest version that is accepted.\n\
             \x20   minVersion: {version}\n\
             \x20   # A node does not install an older version than it had, unless its owner rolls back.\n\
             \x20   rollback: monotonic\n",
            joined(plugins)
        )
    }

    fn version(&self) -> semver::Version {
        match &self.source {
            FirstSource::Upstream(version) => version.clone(),
            FirstSource::Directory(_) => semver::Version::new(0, 1, 0),
        }
    }
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A scalar of YAML in single quotes, in which only they have to be doubled (YAML 1.2.2, 7.3.2).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Definition;
    use crate::trust::Policy;

    #[test]
    fn both_texts_are_what_they_should_be() {
        for source in [
            FirstSource::Upstream("1.9.1".parse().unwrap()),
            FirstSource::Upstream("2.0.0-rc.1".parse().unwrap()),
            FirstSource::Directory("/usr/lib/cni".to_owned()),
            FirstSource::Directory("it's: a \"place\" #1".to_owned()),
        ] {
            let files = FirstFiles {
                name: "base".parse().unwrap(),
                source,
                plugins: vec!["macvlan".parse().unwrap(), "host-local".parse().unwrap()],
                platforms: vec!["linux/arm/v7".parse().unwrap()],
                image: "ghcr.io/acme/cni".parse().unwrap(),
            };
            let text = files.definition();
            let definition = Definition::parse("bundle.yaml", &text).unwrap();
            assert_eq!(definition.version, files.version());
            assert_eq!(definition.plugins.len(), 2);
            assert_eq!(definition.platforms, files.platforms);
            let mut key = |name: &str| {
                assert_eq!(name, "cosign.pub");
                Ok(include_str!("../../tests/data/cosign.pub").to_owned())
            };
            Policy::parse("policy.yaml", &files.policy(), &mut key).unwrap();
            for text in [text, files.policy()] {
                let long = text.lines().filter(|line| !line.contains("https://"));
                assert!(
                    long.clone().all(|line| line.len() <= 100 && line == line.trim_end()),
                    "{text}"
                );
            }
        }
    }
}
