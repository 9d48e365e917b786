//! How a layer is compressed, both ways.
//!
//! The digest of a compressed layer belongs to one encoder with one set of parameters; both are recorded beside it.
//! The portable identity of a layer is the digest of its uncompressed bytes, the `diff_id`.

use std::fmt;
#[cfg(any(feature = "publish", test))]
use std::io::Write;
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "publish", test))]
use super::gzip;
use crate::model::media_type;

/// The compression of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zstd with long-distance matching: half the bytes of gzip, since Go programs share their runtime.
    #[default]
    Zstd,
    /// gzip, for runtimes older than containerd 1.5.
    Gzip,
    /// No compression: a digest that depends on no encoder.
    None,
}

/// What a zstd frame may refer back to, as a power of two: 8 MiB, which RFC 8878 (3.1.1.1.2) asks every decoder to
/// support. A larger window in a frame would let it decide how much memory a node spends.
const ZSTD_WINDOW_LOG: u32 = 23;

impl Compression {
    /// The media type of a layer that is compressed so (image-spec, layer.md).
    pub fn media_type(self) -> String {
        match self {
            Self::Zstd => format!("{}+zstd", media_type::LAYER),
            Self::Gzip => format!("{}+gzip", media_type::LAYER),
            Self::None => media_type::LAYER.to_owned(),
        }
    }

    /// The compression of a layer of this media type, where it is one of an OCI layer.
    pub fn of_media_type(text: &str) -> Option<Self> {
        match text.strip_prefix(media_type::LAYER)? {
            "+zstd" => Some(Self::Zstd),
            "+gzip" => Some(Self::Gzip),
            "" => Some(Self::None),
            _ => None,
        }
    }

    /// Reads the uncompressed bytes of `input`. The digest of `input` must have been checked before: a decoder is
    /// not the first to see bytes that nobody signed.
    pub fn decoder<'a>(self, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Gzip => Box::new(GzDecoder::new(input)),
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

/// Nine Debian plugins (27 MB) become 5.56 MB in 0.25 s; level 3 makes 6.43 MB in 0.08 s. A bundle is built once and
/// pulled by every node. Level 12 takes twice as long again for 1 %.
const ZSTD_LEVEL: i32 = 9;
/// The release of zlib-rs, which does not tell it itself; a test compares it with `Cargo.lock`.
const ZLIB_RS: &str = "0.6.8";
/// zlib-rs makes other bytes when it is written to in other portions, so all portions but the last have this size.
const PORTION: usize = 64 * 1024;

/// Compresses what is written to it, with the same bytes however it is cut into writes.
pub(super) struct Encoder<W: Write> {
    portion: Vec<u8>,
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Gzip(gzip::Encoder<W>),
    None(W),
}

impl Compression {
    /// What makes the bytes: the encoder, its version and its parameters.
    pub fn encoder_id(self) -> String {
        match self {
            Self::Zstd => {
                let version = zstd::zstd_safe::version_string();
                format!("zstd {version} level={ZSTD_LEVEL} ldm window={ZSTD_WINDOW_LOG} checksum")
            }
            Self::Gzip => format!("zlib-rs {ZLIB_RS} level={} portion={PORTION}", gzip::LEVEL),
            Self::None => "none".to_owned(),
        }
    }

    pub(super) fn encoder<W: Write>(self, output: W) -> io::Result<Encoder<W>> {
        let inner = match self {
            Self::Zstd => {
                // One thread: with workers, matches do not reach across their jobs.
                let mut encoder = zstd::stream::write::Encoder::new(output, ZSTD_LEVEL)?;
                encoder.long_distance_matching(true)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                encoder.include_checksum(true)?;
                Inner::Zstd(encoder)
            }
            Self::Gzip => Inner::Gzip(gzip::Encoder::new(output)?),
            Self::None => Inner::None(output),
        };
        Ok(Encoder { portion: Vec::with_capacity(PORTION), inner })
    }
}

impl<W: Write> Encoder<W> {
    /// Ends the stream and returns the writer behind.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_portion()?;
        match self.inner {
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::None(output) => Ok(output),
        }
    }

    fn write_portion(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Zstd(encoder) => encoder.write_all(&self.portion)?,
            Inner::Gzip(encoder) => encoder.write_all(&self.portion)?,
            Inner::None(output) => output.write_all(&self.portion)?,
        }
        self.portion.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PORTION.saturating_sub(self.portion.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.portion.extend_from_slice(taken);
        if self.portion.len() == PORTION {
            self.write_portion()?;
        }
        Ok(taken.len())
    }

    /// Does nothing: a flush in the middle would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_media_types_it_writes() {
        for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
            assert_eq!(Compression::of_media_type(&compression.media_type()), Some(compression));
        }
        for text in
            ["application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+xz", ""]
        {
            assert_eq!(Compression::of_media_type(text), None, "{text}");
        }
    }

    #[test]
    fn records_the_encoder_that_is_locked() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"zlib-rs\"\nversion = \"{ZLIB_RS}\"")));
        assert_eq!(Compression::Zstd.encoder_id(), "zstd 1.5.7 level=9 ldm window=23 checksum");
        assert_eq!(Compression::Gzip.encoder_id(), "zlib-rs 0.6.8 level=6 portion=65536");
    }

    #[test]
    fn refuses_a_zstd_frame_with_a_larger_window() {
        for (window, accepted) in [(ZSTD_WINDOW_LOG, true), (ZSTD_WINDOW_LOG + 1, false)] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(b"text").unwrap();
            let frame = encoder.finish().unwrap();
            let mut text = String::new();
            let read = Compression::Zstd.decoder(frame.as_slice()).unwrap().read_to_string(&mut text);
            assert_eq!(read.is_ok().then_some(text.as_str()), accepted.then_some("text"), "{window}");
        }
    }
}
