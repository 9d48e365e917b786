//! Package URLs (package-url/purl-spec): the names by which scanners find a component.

use super::uri::push_encoded;
use crate::model::Digest;

/// A Go module, or a package inside of it. The type wants lower case; the true spelling is in the
/// component's name.
pub(super) fn golang(module: &str, version: Option<&str>, package: Option<&str>) -> String {
    let module = module.to_lowercase();
    let mut url = format!("pkg:golang/{}", path(&module));
    push_version(&mut url, version);
    let inside = package.map(str::to_lowercase);
    let inside = inside.as_deref().and_then(|package| package.strip_prefix(&module));
    if let Some(inside) = inside.and_then(|rest| rest.strip_prefix('/')) {
        url.push('#');
        url.push_str(&path(inside));
    }
    url
}

/// An image, by the digest of its manifest.
pub(super) fn oci(name: &str, digest: Digest, architecture: &str) -> String {
    let name = part(&name.to_lowercase());
    format!("pkg:oci/{name}@{digest}?arch={}", part(architecture))
}

/// A file of which no package is known.
pub(super) fn generic(
    name: &str,
    version: Option<&str>,
    digest: Digest,
    download: Option<&str>,
) -> String {
    let mut url = format!("pkg:generic/{}", part(name));
    push_version(&mut url, version);
    url.push_str(&format!("?checksum={digest}"));
    if let Some(download) = download {
        url.push_str("&download_url=");
        url.push_str(&part(download));
    }
    url
}

fn push_version(url: &mut String, version: Option<&str>) {
    if let Some(version) = version {
        url.push('@');
        url.push_str(&part(version));
    }
}

/// Encodes each part between slashes. Empty parts, `.` and `..` name nothing and are left out.
fn path(text: &str) -> String {
    let parts = text.split('/').filter(|part| !["", ".", ".."].contains(part));
    parts.map(part).collect::<Vec<_>>().join("/")
}

/// Encodes everything but what a URL never needs to, and the colon.
fn part(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            push_encoded(&mut encoded, byte);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_modules() {
        for (module, version, package, expected) in [
            ("github.com/a/b", Some("v1.0.0"), None, "pkg:golang/github.com/a/b@v1.0.0"),
            ("github.com/BurntSushi/toml", None, None, "pkg:golang/github.com/burntsushi/toml"),
            (
                "github.com/docker/docker",
                Some("v28.0.0+incompatible"),
                None,
                "pkg:golang/github.com/docker/docker@v28.0.0%2Bincompatible",
            ),
            (
                "github.com/sigstore/cosign/v3",
                Some("v3.1.3"),
                Some("github.com/sigstore/cosign/v3/cmd/cosign"),
                "pkg:golang/github.com/sigstore/cosign/v3@v3.1.3#cmd/cosign",
            ),
            ("a.example/b", Some("v1"), Some("a.example/b"), "pkg:golang/a.example/b@v1"),
            ("a.example/b", Some("v1"), Some("a.example/bc/d"), "pkg:golang/a.example/b@v1"),
            ("git.example/~u/m", None, None, "pkg:golang/git.example/~u/m"),
            ("a.example/../x?y#z", None, None, "pkg:golang/a.example/x%3Fy%23z"),
            ("stdlib", Some("1.26.3"), None, "pkg:golang/stdlib@1.26.3"),
        ] {
            assert_eq!(golang(module, version, package), expected);
        }
    }

    #[test]
    fn names_images_and_files() {
        let digest = Digest::of(b"");
        assert_eq!(oci("CNI", digest, "arm64"), format!("pkg:oci/cni@{digest}?arch=arm64"));
        assert_eq!(
            generic("bridge", Some("1.1.1+ds1"), digest, None),
            format!("pkg:generic/bridge@1.1.1%2Bds1?checksum={digest}")
        );
        assert_eq!(
            generic("my plugin", None, digest, Some("https://a/b?c=d&e")),
            format!(
                "pkg:generic/my%20plugin?checksum={digest}&download_url=https:%2F%2Fa%2Fb%3Fc%3Dd%26e"
            )
        );
    }
}
