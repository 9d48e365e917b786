//! Points that are no Ed25519 public keys, although a verifier takes them for one. Pure.
//!
//! RFC 8032 verifies `[S]B = R + [k]A`. With a key `A` of small order, `[k]A` is one of at most
//! eight points whatever was signed, so anyone can write a signature that is right for every
//! message, or for every eighth one. The library (aws-lc) does not look for such keys.

/// The length of a key in bytes (RFC 8032, 5.1.5).
const LENGTH: usize = 32;
/// The y coordinates of the eight points whose order divides 8, least significant byte first: the
/// points with y = 0 have order 4, 1 is the neutral element, -1 has order 2, and the others order
/// 8. Each y has a second point with the other sign of x, except 1 and -1, whose x is 0.
const SMALL_ORDER: [[u8; LENGTH]; 5] = [
    small(0),
    small(1),
    below_prime(1),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Why a point is not accepted as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WeakPoint {
    /// Everyone can sign with it.
    #[error("the Ed25519 key is a point of small order: anyone can make its signatures")]
    SmallOrder,
    /// Readers differ in whether this is a point at all, and one point has two fingerprints.
    #[error("the Ed25519 key is not in its only valid encoding (RFC 8032, 5.1.3)")]
    Encoding,
}

/// Refuses a key of 32 bytes that everyone can sign with, or that is a second encoding of a point.
///
/// Whether there is a point with this y at all is not examined: without one, nothing is verified.
pub(super) fn refuse_weak(key: &[u8]) -> Result<(), WeakPoint> {
    // The topmost bit is the sign of x.
    let mut y = key.to_vec();
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    // From the most significant byte on, as numbers are compared.
    if !y.iter().rev().lt(below_prime(0).iter().rev()) {
        return Err(WeakPoint::Encoding);
    }
    match SMALL_ORDER.iter().any(|point| y == point) {
        true => Err(WeakPoint::SmallOrder),
        false => Ok(()),
    }
}

/// A number below 256.
const fn small(number: u8) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = number;
    bytes
}

/// The prime 2^255 - 19, less a small number.
const fn below_prime(less: u8) -> [u8; LENGTH] {
    let mut bytes = [0xff; LENGTH];
    bytes[0] = 0xed - less;
    bytes[LENGTH - 1] = 0x7f;
    bytes
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn with_sign(mut point: [u8; LENGTH]) -> [u8; LENGTH] {
        point[LENGTH - 1] |= 0x80;
        point
    }

    /// The prime and 0 to 18 more: all that fits into 255 bits.
    fn past_prime(more: u8) -> [u8; LENGTH] {
        let mut bytes = below_prime(0);
        bytes[0] += more;
        bytes
    }

    #[test]
    fn refuses_every_point_of_small_order_with_either_sign() {
        for point in SMALL_ORDER {
            assert_eq!(refuse_weak(&point), Err(WeakPoint::SmallOrder), "{point:02x?}");
            assert_eq!(refuse_weak(&with_sign(point)), Err(WeakPoint::SmallOrder), "{point:02x?}");
        }
    }

    #[test]
    fn refuses_every_second_encoding() {
        for point in (0..19).map(past_prime) {
            assert_eq!(refuse_weak(&point), Err(WeakPoint::Encoding), "{point:02x?}");
            assert_eq!(refuse_weak(&with_sign(point)), Err(WeakPoint::Encoding), "{point:02x?}");
        }
    }

    #[test]
    fn accepts_their_neighbours() {
        for point in [small(2), small(3), small(4), below_prime(2), below_prime(3)] {
            assert_eq!(refuse_weak(&point), Ok(()), "{point:02x?}");
            assert_eq!(refuse_weak(&with_sign(point)), Ok(()), "{point:02x?}");
        }
    }

    /// What the refusal is for: `R = [S]B` with `S = 0` is the neutral element, and so is `[k]A`
    /// for at least one message in eight.
    #[test]
    fn the_library_verifies_forged_signatures_by_such_keys() {
        let mut signature = [0; 64];
        signature[0] = 1;
        for point in SMALL_ORDER {
            let key = UnparsedPublicKey::new(&ED25519, point);
            assert!((0..=u8::MAX).any(|message| key.verify(&[message], &signature).is_ok()));
        }
    }
}
