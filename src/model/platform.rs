//! Platforms: an operating system and an architecture, by Go's names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform as the image index names it (image-spec, image-index.md, "platform").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    architecture: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a supported platform; expected one of linux/amd64, linux/arm64, linux/arm, linux/ppc64le, linux/riscv64, linux/s390x"
)]
pub struct ParsePlatformError(String);

/// The architectures that upstream releases plugins for, each with the ELF machine (`e_machine`) it
/// runs.
const ARCHITECTURES: [(&str, u16); 6] =
    [("amd64", 62), ("arm64", 183), ("arm", 40), ("ppc64le", 21), ("riscv64", 243), ("s390x", 22)];

impl Platform {
    /// The platform that this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { architecture: architecture.to_owned() }
    }

    /// Every platform that plugins are released for.
    pub fn all() -> impl Iterator<Item = Self> {
        ARCHITECTURES.iter().map(|(name, _)| Self { architecture: (*name).to_owned() })
    }

    /// The operating system; CNI plugins run on Linux.
    pub fn os(&self) -> &'static str {
        "linux"
    }

    /// The architecture by Go's name (`amd64`).
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the architecture, if images conventionally name one.
    pub fn variant(&self) -> Option<&'static str> {
        match self.architecture.as_str() {
            "arm64" => Some("v8"),
            "arm" => Some("v7"),
            _ => None,
        }
    }

    /// The platform of an ELF machine number, if it is supported.
    pub fn of_elf_machine(machine: u16) -> Option<Self> {
        let (architecture, _) = ARCHITECTURES.iter().find(|(_, number)| *number == machine)?;
        Some(Self { architecture: (*architecture).to_owned() })
    }

    /// The platform that others mean by these fields of an index or a configuration: other names
    /// of the same, as container runtimes read them (containerd/platforms, `Normalize`).
    pub fn normalized(
        os: &str,
        architecture: &str,
        variant: Option<&str>,
    ) -> Result<Self, ParsePlatformError> {
        let (os, architecture) = (os.to_lowercase(), architecture.to_lowercase());
        let variant = variant.unwrap_or_default().to_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
            ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
            ("armhf", _) | ("arm", "" | "7" | "v7") => ("arm", ""),
            ("armel", _) => ("arm", "v6"),
            other => other,
        };
        let separator = if variant.is_empty() { "" } else { "/" };
        format!("{os}/{architecture}{separator}{variant}").parse()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePlatformError(super::excerpt(text));
        let architecture = text.strip_prefix("linux/").ok_or_else(error)?;
        // The default variant may be given; any other means code that this architecture may not
        // run.
        let architecture = match architecture {
            "arm64/v8" => "arm64",
            "arm/v7" => "arm",
            plain => plain,
        };
        if !ARCHITECTURES.iter().any(|(name, _)| *name == architecture) {
            return Err(error());
        }
        Ok(Self { architecture: architecture.to_owned() })
    }
}

impl TryFrom<String> for Platform {
    type Error = ParsePlatformError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_go_writes() {
        for (text, printed) in [("linux/amd64", "linux/amd64"), ("linux/arm64/v8", "linux/arm64")] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn prints_what_it_parsed() {
        for (architecture, machine) in ARCHITECTURES {
            let text = format!("linux/{architecture}");
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.to_string(), text);
            assert_eq!(Platform::of_elf_machine(machine), Some(platform.clone()));
            if let Some(variant) = platform.variant() {
                assert_eq!(format!("{text}/{variant}").parse(), Ok(platform.clone()));
            }
            let json = serde_json::to_string(&platform).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Platform>(&json).unwrap(), platform);
        }
    }

    #[test]
    fn knows_other_names_of_a_platform_as_runtimes_do() {
        for (os, architecture, variant, expected) in [
            ("linux", "amd64", Some("v1"), Some("linux/amd64")),
            ("linux", "x86_64", None, Some("linux/amd64")),
            ("linux", "x86-64", Some(""), Some("linux/amd64")),
            ("Linux", "AMD64", None, Some("linux/amd64")),
            ("linux", "aarch64", None, Some("linux/arm64")),
            ("linux", "arm64", Some("v8"), Some("linux/arm64")),
            ("linux", "arm64", Some("8"), Some("linux/arm64")),
            ("linux", "armhf", None, Some("linux/arm")),
            ("linux", "arm", Some("7"), Some("linux/arm")),
            ("linux", "s390x", None, Some("linux/s390x")),
            ("linux", "amd64", Some("v2"), None),
            ("linux", "x86_64", Some("v3"), None),
            ("linux", "arm64", Some("v9"), None),
            ("linux", "arm", Some("v6"), None),
            ("linux", "armel", None, None),
            ("linux", "386", None, None),
            ("linux", "ppc64", None, None),
            ("windows", "amd64", None, None),
        ] {
            let found = Platform::normalized(os, architecture, variant).ok();
            let found = found.map(|platform| platform.to_string());
            assert_eq!(found.as_deref(), expected, "{os}/{architecture}/{variant:?}");
        }
    }

    #[test]
    fn rejects_what_no_plugin_runs_on() {
        for text in
            ["amd64", "linux/", "windows/amd64", "linux/x86_64", "linux/arm/v6", "linux/amd64/v3"]
        {
            assert_eq!(
                text.parse::<Platform>(),
                Err(ParsePlatformError(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn knows_the_machine_it_runs_on() {
        let host = Platform::host();
        assert_eq!(host.to_string().parse::<Platform>().unwrap(), host);
    }
}
