//! Small writes of several pieces as one.
//!
//! A head and a short body come in two pieces. The system call that takes several costs a tenth
//! of a microsecond more than the one that takes one, several times what it takes to copy them.

use std::io::IoSlice;

/// More than this is not copied.
const SMALL: usize = 1024;

/// Room for the pieces of one small write, made when there are several.
#[derive(Default)]
pub(crate) struct Room(Option<[u8; SMALL]>);

impl Room {
    /// All of `pieces` as one; `None` where that would copy more than little.
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
            assert_eq!(Room::default().gather(&pieces), gathered, "{why}");
        }
    }
}
