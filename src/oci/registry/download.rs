//! Downloads a blob to a file. Its digest is known, so a download that breaks off is resumed
//! without relying on validators of the registry.

use std::fs::File;
use std::io::{self, Seek};

use oci_spec::image::Descriptor;

use super::Registry;
use crate::model::{document, visible};
use crate::net::{Content, Download, DownloadError, HttpError, download};
use crate::oci::{OciError, Source, VerifyReader};

impl Registry {
    /// Downloads a blob to an empty file, and verifies size and digest. The file holds whatever
    /// came if that fails.
    pub fn download(&self, descriptor: &Descriptor, file: &mut File) -> Result<(), OciError> {
        let origin = self.origin();
        let Some(digest) = document::sha256(descriptor) else {
            let what = format!("blob {}", visible(descriptor.digest().as_ref()));
            return Err(OciError::NotFound { origin, what });
        };
        let url = self.url(&format!("blobs/{digest}"));
        let wanted = Download { url: &url, limit: descriptor.size(), content: Content::Pinned };
        let cannot = |action: &str, source| OciError::Io {
            origin: origin.clone(),
            action: format!("{action} blob {digest}"),
            source,
        };
        match download(&self.client, &wanted, file) {
            Ok(_) => {}
            Err(DownloadError::Http(HttpError::Status { status: 404, .. })) => {
                return Err(OciError::NotFound { origin, what: format!("blob {digest}") });
            }
            Err(DownloadError::Http(error)) => return Err(error.into()),
            Err(DownloadError::Write(error)) => return Err(cannot("store", error)),
        }
        file.rewind().map_err(|error| cannot("read", error))?;
        let mut verified = VerifyReader::new(&*file, origin.clone(), digest, descriptor.size());
        io::copy(&mut verified, &mut io::sink())
            .map_err(|error| OciError::from_io(error, &origin, &format!("read blob {digest}")))?;
        Ok(())
    }
}
