//! containerd's configuration: versions 1 to 4, each of which has the CNI section in its own place.
//!
//! An imported file overrides earlier ones key by key, as containerd 2 merges tables. containerd 1
//! replaces a plugin's whole section; the two differ only if a later file has part of the section
//! without its `cni` table.

use super::document::{RuntimeConfigError, Table, parse};

/// The CRI plugin's names, and how many versions of the format each one has: since version 3 the
/// CNI section is the runtime service's (containerd, `docs/cri/config.md`).
const SECTIONS: [(&str, u32, u32); 3] = [
    ("cri", 0, 1),
    ("io.containerd.grpc.v1.cri", 2, 2),
    ("io.containerd.cri.v1.runtime", 3, u32::MAX),
];

/// What containerd's files say about CNI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containerd {
    /// Where it looks for plugins, in order.
    bin_dirs: Option<Vec<String>>,
    /// The same as one directory, the only form before containerd 2.1.
    bin_dir: Option<String>,
    /// Where it looks for network configurations.
    pub conf_dir: Option<String>,
    /// How many network configurations it takes; 0 is all of them.
    pub max_conf_num: Option<u32>,
    /// The files that it names to be read after it, with patterns.
    pub imports: Vec<String>,
    /// Whether its CRI plugin is disabled, as Docker's package does.
    pub is_without_pods: bool,
}

impl Containerd {
    /// Parses one file; the files that it imports are named and not read.
    pub fn parse(bytes: &[u8]) -> Result<Self, RuntimeConfigError> {
        parse(bytes, |file| {
            let version = file.number("version")?;
            let disabled = file.texts("disabled_plugins")?.unwrap_or_default();
            let mut config = Self {
                imports: file.texts("imports")?.unwrap_or_default(),
                is_without_pods: disabled
                    .iter()
                    .any(|name| SECTIONS.iter().any(|(section, ..)| section == name)),
                ..Self::default()
            };
            let Some(plugins) = file.table("plugins")? else { return Ok(config) };
            for (section, first, last) in SECTIONS {
                // A file without a version is read as the oldest, or as its importer's: any of the
                // names may count.
                if version.is_none_or(|version| (first..=last).contains(&version)) {
                    config.read(&plugins, section)?;
                }
            }
            Ok(config)
        })
    }

    fn read(&mut self, plugins: &Table<'_>, section: &str) -> Result<(), RuntimeConfigError> {
        let Some(cni) = plugins.descend(&[section, "cni"])? else { return Ok(()) };
        let section = Self {
            bin_dirs: cni.texts("bin_dirs")?.filter(|paths| !paths.is_empty()),
            // Empty means not set.
            bin_dir: cni.text("bin_dir")?.filter(|path| !path.is_empty()),
            conf_dir: cni.text("conf_dir")?.filter(|path| !path.is_empty()),
            max_conf_num: cni.count("max_conf_num")?,
            ..Self::default()
        };
        self.merge(section);
        Ok(())
    }

    /// Takes over what a later file says.
    pub fn merge(&mut self, later: Self) {
        self.bin_dirs = later.bin_dirs.or_else(|| self.bin_dirs.take());
        self.bin_dir = later.bin_dir.or_else(|| self.bin_dir.take());
        self.conf_dir = later.conf_dir.or_else(|| self.conf_dir.take());
        self.max_conf_num = later.max_conf_num.or(self.max_conf_num);
        // Lists of the file itself are joined.
        self.is_without_pods |= later.is_without_pods;
    }

    /// Where it looks for plugins; empty if the configuration does not say.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.bin_dirs.iter().flatten().chain(&self.bin_dir).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Option<String>) {
        let file = Containerd::parse(text.as_bytes()).expect(text);
        (file.directories().map(str::to_owned).collect(), file.conf_dir)
    }

    #[test]
    fn reads_each_version_in_its_own_place() {
        let cases = [
            ("", None, vec![]),
            ("version = 2\n[plugins]\n", None, vec![]),
            ("[plugins.cri.cni]\nbin_dir = '/a'\nconf_dir = '/c'", Some("/c"), vec!["/a"]),
            ("version = 1\n[plugins.cri.cni]\nbin_dir = '/a'", None, vec!["/a"]),
            (
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = '/a'",
                None,
                vec!["/a"],
            ),
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = '/a'",
                None,
                vec!["/a"],
            ),
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\ncni.bin_dirs = ['/a', '/b']",
                None,
                vec!["/a", "/b"],
            ),
            (
                "version = 4\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/c'",
                Some("/c"),
                vec![],
            ),
            (
                "version = 0x2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = '/a'",
                None,
                vec!["/a"],
            ),
            // The section of another version does not count.
            ("version = 2\n[plugins.cri.cni]\nbin_dir = '/a'", None, vec![]),
            (
                "version = 3\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = '/a'",
                None,
                vec![],
            ),
            (
                "version = 2\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = '/a'",
                None,
                vec![],
            ),
            // A file that is imported may have none.
            ("[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = '/a'", None, vec!["/a"]),
            // Empty means not set.
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = ''\nbin_dirs = ['/a']",
                None,
                vec!["/a"],
            ),
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = '/a'\nbin_dirs = []",
                None,
                vec!["/a"],
            ),
        ];
        for (text, conf_dir, bin_dirs) in cases {
            let bin_dirs: Vec<_> = bin_dirs.into_iter().map(str::to_owned).collect();
            assert_eq!(parsed(text), (bin_dirs, conf_dir.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn a_negative_number_of_networks_is_all_of_them() {
        for (number, expected) in [("-1", 0), ("-1_0", 0), ("0", 0), ("2", 2), ("+3", 3)] {
            let text = format!("[plugins.cri.cni]\nmax_conf_num = {number}\nconf_dir = '/c'");
            let file = Containerd::parse(text.as_bytes()).expect(&text);
            assert_eq!(
                (file.max_conf_num, file.conf_dir.as_deref()),
                (Some(expected), Some("/c")),
                "{number}"
            );
        }
    }

    #[test]
    fn comments_hold_no_values() {
        let config = "[plugins.cri.cni]\nconf_dir = '/c'\n";
        for comment in ["# a. b, c= d.\n", "  #[a.b]\n", "\t# {},{},\r\n"] {
            let text = format!("{}{config}{}", comment.repeat(800), comment.repeat(800));
            assert_eq!(Containerd::parse(text.as_bytes()).unwrap().conf_dir.as_deref(), Some("/c"));
        }
        // The line that ends a long text is not a comment.
        for quotes in ["\"\"\"", "'''"] {
            let text = format!("a = [{quotes}\n#{quotes}{}]", ", {}".repeat(1600));
            assert_eq!(Containerd::parse(text.as_bytes()), Err(RuntimeConfigError::Long));
        }
    }

    #[test]
    fn knows_when_it_is_there_for_docker_alone() {
        for (text, expected) in [
            ("disabled_plugins = [\"cri\"]", true),
            ("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]", true),
            ("version = 3\ndisabled_plugins = [\"io.containerd.cri.v1.runtime\"]", true),
            ("version = 2\ndisabled_plugins = [\"io.containerd.internal.v1.opt\"]", false),
            ("disabled_plugins = []", false),
        ] {
            assert_eq!(
                Containerd::parse(text.as_bytes()).unwrap().is_without_pods,
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_later_file_wins_key_by_key() {
        let parse =
            |text: &str| Containerd::parse(format!("version = 2\n{text}").as_bytes()).unwrap();
        let section = "[plugins.\"io.containerd.grpc.v1.cri\"";
        let mut merged = parse(&format!("{section}.cni]\nbin_dir = '/a'\nconf_dir = '/c'"));
        merged.merge(parse(&format!("{section}.registry]\nconfig_path = '/etc/certs.d'")));
        assert_eq!(merged.directories().collect::<Vec<_>>(), ["/a"]);
        merged.merge(parse(&format!("{section}.cni]\nbin_dir = '/b'")));
        assert_eq!(merged.directories().collect::<Vec<_>>(), ["/b"]);
        assert_eq!(merged.conf_dir.as_deref(), Some("/c"));
    }

    #[test]
    fn says_what_it_cannot_read() {
        let section = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n";
        let deep = format!("a = {}{}", "[".repeat(1000), "]".repeat(1000));
        let cases = [
            (
                "version = 2\n{{ if .Gpu }}\n".to_owned(),
                "line 2: invalid key-value pair, expected key",
            ),
            (
                format!("{section}bin_dir = 1"),
                "`plugins.io.containerd.grpc.v1.cri.cni.bin_dir` is integer, expected a string",
            ),
            (
                format!("{section}bin_dirs = ['/a', 2]"),
                "`plugins.io.containerd.grpc.v1.cri.cni.bin_dirs` is integer, expected a string",
            ),
            (
                format!("{section}bin_dirs = '/a'"),
                "`plugins.io.containerd.grpc.v1.cri.cni.bin_dirs` is string, expected a list of strings",
            ),
            ("version = '2'".to_owned(), "`version` is string, expected a number"),
            ("version = -2".to_owned(), "`version` is integer, expected a small number"),
            ("plugins = 1".to_owned(), "`plugins` is integer, expected a table"),
            ("version = 2\nversion = 3".to_owned(), "line 2: duplicate key"),
            ("# a\n\n  # b\nversion = 2\n\nversion = 3".to_owned(), "line 6: duplicate key"),
            ("# a\n\nversion = '".to_owned(), "line 3: invalid literal string, expected `'`"),
            ("[a.b]\n".repeat(3000), "it has more than 1600 keys, tables and entries"),
            (deep, "line 1: cannot recurse further; max recursion depth met"),
        ];
        for (text, expected) in cases {
            let error = Containerd::parse(text.as_bytes()).expect_err(expected).to_string();
            assert_eq!(error, expected, "{}", text.chars().take(80).collect::<String>());
        }
        assert_eq!(Containerd::parse(b"\xff"), Err(RuntimeConfigError::Text));
    }
}
