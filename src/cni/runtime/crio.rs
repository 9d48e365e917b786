//! CRI-O's configuration: one file, and every file of a directory in the order of their names. Only
//! the directories of plugins and networks are understood, and no file is opened here.

use super::document::{RuntimeConfigError, parse};

/// What CRI-O's files say about CNI (`crio.conf(5)`, "CRIO.NETWORK TABLE"). An empty
/// string resets what an earlier file set: each file is decoded over those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crio {
    /// Where it looks for plugins, in order.
    plugin_dirs: Option<Vec<String>>,
    /// One more directory, after the others; long deprecated.
    plugin_dir: Option<String>,
    network_dir: Option<String>,
    cni_default_network: Option<String>,
}

impl Crio {
    /// Parses one file: the main one or a drop-in.
    pub fn parse(bytes: &[u8]) -> Result<Self, RuntimeConfigError> {
        parse(bytes, |file| {
            let Some(network) = file.descend(&["crio", "network"])? else {
                return Ok(Self::default());
            };
            Ok(Self {
                plugin_dirs: network.texts("plugin_dirs")?,
                plugin_dir: network.text("plugin_dir")?,
                network_dir: network.text("network_dir")?,
                cni_default_network: network.text("cni_default_network")?,
            })
        })
    }

    /// Takes over what a later file says.
    pub fn merge(&mut self, later: Self) {
        self.plugin_dirs = later.plugin_dirs.or_else(|| self.plugin_dirs.take());
        self.plugin_dir = later.plugin_dir.or_else(|| self.plugin_dir.take());
        self.network_dir = later.network_dir.or_else(|| self.network_dir.take());
        self.cni_default_network =
            later.cni_default_network.or_else(|| self.cni_default_network.take());
    }

    /// Where it looks for network configurations, if the configuration says so.
    pub fn network_dir(&self) -> Option<&str> {
        self.network_dir.as_deref().filter(|path| !path.is_empty())
    }

    /// The name of the network that pods get; the first one if there is none.
    pub fn default_network(&self) -> Option<&str> {
        self.cni_default_network.as_deref().filter(|name| !name.is_empty())
    }

    /// Where it looks for plugins; `default` is used if the configuration does not say.
    pub fn directories<'a>(&'a self, default: &'a str) -> Vec<&'a str> {
        let listed =
            self.plugin_dirs.as_ref().map(|paths| paths.iter().map(String::as_str).collect());
        let mut directories: Vec<_> = listed.unwrap_or_else(|| vec![default]);
        directories.extend(self.plugin_dir.as_deref().filter(|path| !path.is_empty()));
        directories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings() {
        let cases: [(&str, &[&str], Option<&str>); 6] = [
            ("", &["/opt/cni/bin"], None),
            ("[crio.runtime]\nplugin_dirs = ['/a']", &["/opt/cni/bin"], None),
            ("[crio.network]\nplugin_dirs = [\n\t\"/a\",\n\t\"/b/\",\n]", &["/a", "/b/"], None),
            ("[crio.network]\nplugin_dir = '/a'", &["/opt/cni/bin", "/a"], None),
            (
                "[crio]\n[crio.network]\nnetwork_dir = '/c'\nplugin_dirs = ['/a']\nplugin_dir = '/b'",
                &["/a", "/b"],
                Some("/c"),
            ),
            ("[crio.network]\nplugin_dirs = []", &[], None),
        ];
        for (text, expected, network_dir) in cases {
            let file = Crio::parse(text.as_bytes()).unwrap();
            assert_eq!(file.directories("/opt/cni/bin"), expected, "{text}");
            assert_eq!(file.network_dir(), network_dir, "{text}");
        }
        let error = Crio::parse(b"[crio]\nnetwork = 3").expect_err("no table").to_string();
        assert_eq!(error, "`crio.network` is integer, expected a table");
    }

    #[test]
    fn a_later_file_wins_key_by_key() {
        let mut merged =
            Crio::parse(b"[crio.network]\nplugin_dirs = ['/a']\nnetwork_dir = '/c'").unwrap();
        merged.merge(Crio::parse(b"[crio.runtime]\n").unwrap());
        merged.merge(Crio::parse(b"[crio.network]\nplugin_dirs = ['/b']").unwrap());
        assert_eq!(merged.directories("/d"), ["/b"]);
        assert_eq!(merged.network_dir(), Some("/c"));
        // An empty string also counts.
        let text = b"[crio.network]\ncni_default_network = 'n'\nplugin_dir = '/p'";
        merged.merge(Crio::parse(text).unwrap());
        assert_eq!((merged.default_network(), merged.directories("/d").len()), (Some("n"), 2));
        let text = b"[crio.network]\ncni_default_network = ''\nplugin_dir = ''";
        merged.merge(Crio::parse(text).unwrap());
        assert_eq!((merged.default_network(), merged.directories("/d").len()), (None, 1));
        merged.merge(Crio::parse(b"[crio.network]\nnetwork_dir = ''").unwrap());
        assert_eq!(merged.network_dir(), None);
    }
}
