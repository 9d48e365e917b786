//! Resolves a reference to a layout whose text alone is ambiguous.
//!
//! Names in a layout may contain colons and slashes, and so may paths. The existing files decide;
//! nothing is opened.

use std::path::{Path, PathBuf};

use crate::model::{Location, Reference, Selector};

/// The reference as it is meant where the text alone does not tell: names in a layout may have
/// colons and slashes (`oci:DIR:localhost:5000/a:tag`), and so may paths. What is there decides.
///
/// 1. A path that exists is the path.
/// 2. Colons in directories that exist belong to the path.
/// 3. Of the other colons, the last with something before it ends the path.
/// 4. If nothing is there, the first ends it, as for skopeo (containers/image, oci-layout).
pub fn by_its_names(reference: &Reference) -> Reference {
    let (path, at): (&Path, fn(PathBuf) -> Location) = match &reference.location {
        Location::Layout(path) => (path, Location::Layout),
        Location::Archive(path) => (path, Location::Archive),
        Location::Registry(_) => return reference.clone(),
    };
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return reference.clone() };
    let above = path.ancestors().find(|above| above.is_dir()).and_then(Path::to_str);
    let above = above.map_or(0, str::len);
    let colons = || text.match_indices(':').map(|(at, _)| at).filter(|at| *at > above);
    let is_there = |at: &usize| text.get(..*at).is_some_and(|path| Path::new(path).exists());
    let Some(colon) = colons().rfind(is_there).or_else(|| colons().next()) else {
        return reference.clone();
    };
    let (path, name) = (&text[..colon], &text[colon + 1..]);
    let tag = reference.selector.tag.as_ref();
    let name = tag.map_or_else(|| name.to_owned(), |tag| format!("{name}:{tag}"));
    let selector = Selector { tag: Some(name), digest: reference.selector.digest };
    Reference { location: at(PathBuf::from(path)), selector }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn a_name_in_a_layout_may_have_ports_and_slashes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("l")).unwrap();
        std::fs::create_dir_all(at("with:colon/deep")).unwrap();
        std::fs::write(at("a.tar"), "").unwrap();
        for (form, path, name) in [
            ("oci", "l", ":latest"),
            ("oci", "l", ":localhost/debian:latest"),
            ("oci", "l", ":localhost:5000/a:tag"),
            ("oci", "l", ":registry.example.com/cni/debian"),
            ("oci-archive", "a.tar", ":localhost:5000/a:tag"),
            ("oci", "with:colon", ":1"),
            ("oci", "with:colon", ":localhost/a:1"),
            ("oci", "l", ""),
            ("oci-archive", "a.tar", ":registry.example.com/cni/debian"),
            ("oci", "with:colon/deep", ":localhost:5000/a:1"),
            // What is not there is named as it is created: up to the first colon, unless that is in
            // a directory that is there.
            ("oci", "none", ":1"),
            ("oci", "none", ":localhost:5000/a:1"),
            ("oci", "none", ":registry.example.com/cni/debian"),
            ("oci-archive", "none.tar", ":localhost:5000/a:1"),
            ("oci", "with:colon/none", ""),
            ("oci", "with:colon/none", ":localhost:5000/a:1"),
            ("oci-archive", "with:colon/none.tar", ":localhost/a:1"),
        ] {
            let reference = by_its_names(&format!("{form}:{}{name}", at(path)).parse().unwrap());
            let expected = PathBuf::from(at(path));
            let location = match form {
                "oci" => Location::Layout(expected),
                _ => Location::Archive(expected),
            };
            assert_eq!(reference.location, location, "{path}{name}");
            let expected = name.strip_prefix(':').map(str::to_owned);
            assert_eq!(reference.selector.tag, expected, "{path}{name}");
        }
        let digest = Digest::of(b"x");
        let reference = format!("oci:{}:localhost/a:1@{digest}", at("l")).parse().unwrap();
        assert_eq!(by_its_names(&reference).selector.digest, Some(digest));
    }
}
