//! Joins small writes of several pieces into one.
//!
//! A head and a short body come in two pieces. The system call that takes several pieces costs a
//! tenth of a microsecond more than the one that takes a single piece; that is several times the
//! cost of copying them. Large writes are not copied. Sockets of clients and of upstreams use this.

use std::io::IoSlice;

/// Upper bound in bytes on the length that is copied.
const SMALL: usize = 1024;

/// A buffer for the pieces of one small write. It is on the stack, and filled only if there are
/// several pieces.
#[derive(Default)]
pub(crate) struct CoalesceBuffer(Option<[u8; SMALL]>);

impl CoalesceBuffer {
    /// All `pieces` as one slice; `None` if they are too long to be copied.
    pub(crate) fn gather<'a>(&'a mut self, pieces: &'a [IoSlice<'_>]) -> Option<&'a [u8]> {
        if let [only] = pieces {
            return Some(only);
        }
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length > SMALL {
            return None;
        }
        let whole = self.0.insert([0; SMALL]).get_mut(..length)?;
        let mut rest = &mut *whole;
        for piece in pieces {
            let (place, after) = rest.split_at_mut_checked(piece.len())?;
            place.copy_from_slice(piece);
            rest = after;
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_gathered_in_order_and_large_ones_stay() {
        let large = [7; SMALL];
        for (pieces, gathered, why) in [
            (&[&b"head"[..], b"", b"body"][..], Some(&b"headbody"[..]), "two pieces, one empty"),
            (&[&large[..]], Some(&large[..]), "one piece is passed on, whatever its size"),
            (&[b"h", &large], None, "a byte more than there is room for"),
            (&[b"", &large], Some(&large), "as much as there is room for"),
            (&[], Some(b""), "nothing"),
        ] {
            let pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            assert_eq!(CoalesceBuffer::default().gather(&pieces), gathered, "{why}");
        }
    }
}
