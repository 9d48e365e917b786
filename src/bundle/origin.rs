//! Where a file of a bundle came from: what a lock records beside its digest.

use std::fmt;

/// Where a file came from. It says nothing about the bytes, which have their digest, and nothing is
/// opened by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The place: a path, and for what is fetched a URL or an image.
    pub location: String,
    /// The path inside of it, if it holds several files.
    pub member: Option<String>,
}

impl Origin {
    /// A file of its own.
    pub fn file(location: impl fmt::Display) -> Self {
        Self { location: location.to_string(), member: None }
    }
}

/// As a sentence names it: "`bridge` in `plugins.tgz`".
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            None => write!(f, "`{}`", self.location),
            Some(member) => write!(f, "`{member}` in `{}`", self.location),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_named_by_its_place_and_what_is_inside() {
        let file = Origin::file(std::path::Path::new("cni/bridge").display());
        assert_eq!(file.to_string(), "`cni/bridge`");
        let member = Origin { member: Some("./bridge".to_owned()), ..Origin::file("plugins.tgz") };
        assert_eq!(member.to_string(), "`./bridge` in `plugins.tgz`");
    }
}
