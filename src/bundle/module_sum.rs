//! The sum of a Go module, as go.sum and the checksum database write it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::model::excerpt;

/// The SHA-256 over the names and contents of a module's files (`h1:`, golang.org/x/mod/sumdb/
/// dirhash). It is not the digest of the archive that a module comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModuleSum([u8; 32]);

/// Why a text is not the sum of a module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the sum of a module: expected `h1:` and 44 characters of base64")]
pub struct ParseModuleSumError(String);

impl FromStr for ModuleSum {
    type Err = ParseModuleSumError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix("h1:").and_then(|rest| STANDARD.decode(rest).ok());
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| ParseModuleSumError(excerpt(text)))
    }
}

impl fmt::Display for ModuleSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h1:{}", STANDARD.encode(self.0))
    }
}

impl TryFrom<String> for ModuleSum {
    type Error = ParseModuleSumError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModuleSum> for String {
    fn from(sum: ModuleSum) -> Self {
        sum.to_string()
    }
}

#[cfg(test)]
crate::model::text_schema::text_schema! { ModuleSum "^h1:[0-9A-Za-z+/]{43}=$" }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parsed() {
        let text = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=";
        assert_eq!(text.parse::<ModuleSum>().unwrap().to_string(), text);
        for text in [
            "",
            "h1:",
            "8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=",
            "h2:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=",
            "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNl=",
            "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA",
            "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlB=",
            "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=\n",
        ] {
            text.parse::<ModuleSum>().expect_err(text);
        }
    }
}
