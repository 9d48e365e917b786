//! How a layer is compressed, both ways.
//!
//! The digest of a compressed layer belongs to one encoder with one set of parameters; both are
//! recorded beside it. The portable identity of a layer is the digest of its uncompressed bytes,
//! the `diff_id`.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::model::media_type;

/// The compression of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd with long-distance matching: half the bytes of gzip, since Go programs share their
    /// runtime.
    Zstd,
    /// gzip, RFC 1952.
    Gzip,
    /// None.
    None,
}

/// What a zstd frame may refer back to, as a power of two: 8 MiB, which RFC 8878 (3.1.1.1.2) asks
/// every decoder to support. A larger window in a frame would let it decide how much memory a node
/// spends.
pub(super) const ZSTD_WINDOW_LOG: u32 = 23;
/// The same for what another project published: 128 MiB, the most that `zstd` reads without being
/// asked to. It is what the frame makes us keep in memory.
#[cfg(any(feature = "publish", test))]
pub(super) const UPSTREAM_WINDOW_LOG: u32 = 27;

impl Compression {
    /// The media type of a layer that is compressed so (image-spec, layer.md).
    pub fn media_type(self) -> String {
        match self {
            Self::Zstd => format!("{}+zstd", media_type::LAYER),
            Self::Gzip => format!("{}+gzip", media_type::LAYER),
            Self::None => media_type::LAYER.to_owned(),
        }
    }

    /// The compression of a layer of this media type; `None` if it is not that of an OCI layer.
    pub fn of_media_type(text: &str) -> Option<Self> {
        match text.strip_prefix(media_type::LAYER)? {
            "+zstd" => Some(Self::Zstd),
            "+gzip" => Some(Self::Gzip),
            "" => Some(Self::None),
            _ => None,
        }
    }

    /// The compression of bytes that start with these, whatever their name says.
    pub fn of_magic(start: &[u8]) -> Self {
        match start {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x1f, 0x8b, ..] => Self::Gzip,
            _ => Self::None,
        }
    }

    /// Reads the uncompressed bytes of `input`. The digest of `input` must have been checked
    /// before: a decoder is not the first to see unsigned bytes.
    pub fn decoder<'a>(
        self,
        input: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        self.decoder_up_to(ZSTD_WINDOW_LOG, input)
    }

    /// As [`Compression::decoder`], for a zstd frame that may refer back further: what a machine
    /// that composes a bundle can afford and a node cannot.
    pub fn decoder_up_to<'a>(
        self,
        window_log: u32,
        input: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(window_log)?;
                Box::new(decoder)
            }
            // Every member, as other tools read it: one that stops after the first reads another
            // layer.
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::None => Box::new(input),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_the_media_types_it_writes() {
        for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
            assert_eq!(Compression::of_media_type(&compression.media_type()), Some(compression));
        }
        for text in [
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.oci.image.layer.v1.tar+xz",
            "",
        ] {
            assert_eq!(Compression::of_media_type(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_a_zstd_frame_with_a_larger_window() {
        for (window, accepted) in [(ZSTD_WINDOW_LOG, true), (ZSTD_WINDOW_LOG + 1, false)] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(b"text").unwrap();
            let frame = encoder.finish().unwrap();
            let mut text = String::new();
            let read =
                Compression::Zstd.decoder(frame.as_slice()).unwrap().read_to_string(&mut text);
            assert_eq!(
                read.is_ok().then_some(text.as_str()),
                accepted.then_some("text"),
                "{window}"
            );
        }
    }
}
