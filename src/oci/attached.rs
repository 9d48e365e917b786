//! Documents that are attached to an image: referrers with one layer, such as SBOMs and signed
//! statements. Nothing here is verified; anyone who can write beside an image can attach one.

use super::collect::{CollectError, referrer, referrers, small_blob};
use super::{OciError, Source};
use crate::model::Digest;
use crate::model::document::sha256;

/// An attached document.
#[derive(Debug)]
pub struct Attached {
    /// The digest of the referrer.
    pub referrer: Digest,
    /// The `artifactType` of the referrer.
    pub artifact_type: String,
    /// The bytes of its layer; `None` if they are more than were asked for, or not those of the
    /// descriptor.
    pub document: Option<Vec<u8>>,
}

/// Visits the documents of these types that are attached to `subject`, in the order of the list.
/// One is read at a time: a registry may list many long ones.
pub fn visit_attached(
    source: &dyn Source,
    subject: &Digest,
    artifact_types: &[&str],
    limit: usize,
    visit: &mut dyn FnMut(Attached),
) -> Result<(), CollectError> {
    for entry in referrers(source, subject)? {
        let Some(manifest) = referrer(source, &entry, subject)? else { continue };
        let Some(artifact_type) = manifest.artifact_type().as_ref().map(ToString::to_string) else {
            continue;
        };
        let (Some(digest), [layer]) = (sha256(&entry), manifest.layers().as_slice()) else {
            continue;
        };
        if !artifact_types.contains(&artifact_type.as_str()) {
            continue;
        }
        let document = match small_blob(source, layer, limit) {
            Ok(bytes) => bytes,
            // What is broken must not hide what is not.
            Err(OciError::NotFound { .. } | OciError::Digest { .. } | OciError::Size { .. }) => {
                None
            }
            Err(error) => return Err(error.into()),
        };
        visit(Attached { referrer: digest, artifact_type, document });
    }
    Ok(())
}
