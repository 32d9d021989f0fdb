//! Finds the boundaries of WebSocket frames (RFC 6455 §5.2) in a stream of bytes.
//!
//! The boundaries let the gateway insert a close frame between two frames of the upstream. It reads
//! lengths only and never the payload, and it does not validate frames: that is for the two ends.
//! `upgrade` is the caller.

/// A close frame with status 1008 (policy violation, RFC 6455 §7.4.1). It is unmasked, as all
/// frames from a server are (RFC 6455 §5.1). The status tells the client's program that the end is
/// intended and that a reconnect needs a new login.
pub(super) const CLOSE_1008: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];

/// A position in a stream of frames.
#[derive(Clone, Debug, Default)]
pub(super) struct FramePosition {
    /// Bytes of the current frame's header that have passed.
    passed: u8,
    /// The length of that header; known after two bytes.
    head: u8,
    /// Bytes of the payload that are still to come, as far as the header has announced.
    payload: u64,
}

impl FramePosition {
    /// True between two frames.
    pub(super) fn at_boundary(&self) -> bool {
        self.passed == 0
    }

    /// Advances over `bytes`.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.pass_frame(bytes);
            bytes = bytes.get(passed..).unwrap_or_default();
        }
    }

    /// Advances over the first bytes of `bytes`, up to the end of the current frame at most.
    /// Returns how many bytes that were. The caller can therefore write exactly the rest of a frame
    /// before its own one.
    pub(super) fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let mut count = 0;
        for byte in bytes {
            if self.in_payload() {
                break;
            }
            count += 1;
            self.pass_head(*byte);
            if self.ended() {
                return count;
            }
        }
        let rest = bytes.len() - count;
        let payload = usize::try_from(self.payload).map_or(rest, |payload| payload.min(rest));
        if self.in_payload() {
            self.payload -= payload as u64;
            count += payload;
            self.ended();
        }
        count
    }

    /// True if the header is complete.
    fn in_payload(&self) -> bool {
        self.passed >= 2 && self.passed == self.head
    }

    /// Advances over one byte of the header. The second byte has the mask bit and the length, or
    /// the size of an extended length. No more than the lengths is interpreted, so unknown opcodes
    /// and extensions pass.
    fn pass_head(&mut self, byte: u8) {
        match self.passed {
            0 => (),
            1 => {
                let (extended, length) = match byte & 0x7f {
                    126 => (2, 0),
                    127 => (8, 0),
                    length => (0, u64::from(length)),
                };
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                self.head = 2 + extended + mask;
                self.payload = length;
            }
            // An extended length precedes the mask: it is in bytes 2 and 3, or in bytes 2 to 9.
            at => {
                let length_ends = 2 + match self.head {
                    4 | 8 => 2,
                    10 | 14 => 8,
                    _ => 0,
                };
                if at < length_ends {
                    self.payload = self.payload << 8 | u64::from(byte);
                }
            }
        }
        self.passed += 1;
    }

    /// Begins the next frame if the current one is complete. Returns whether it was.
    fn ended(&mut self) -> bool {
        let ended = self.in_payload() && self.payload == 0;
        if ended {
            *self = Self::default();
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0xff; length + if masked { 4 } else { 0 }]);
        frame
    }

    #[test]
    fn frames_end_where_their_lengths_say_however_they_are_cut() {
        for length in [0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                for cut in [1, 2, 3, 7, 4096] {
                    let whole = frame(length, masked);
                    let (last, before) = whole.split_last().unwrap();
                    let mut frames = FramePosition::default();

                    for piece in before.chunks(cut) {
                        frames.pass(piece);
                        assert!(!frames.at_boundary(), "{length} {masked} {cut}");
                    }
                    frames.pass(&[*last]);

                    assert!(frames.at_boundary(), "{length} {masked} {cut}");
                }
            }
        }
    }

    #[test]
    fn only_the_current_frame_is_taken() {
        let mut two = frame(3, false);
        two.extend(frame(200, false));
        let mut frames = FramePosition::default();

        assert_eq!(frames.pass_frame(&two), 5);
        assert!(frames.at_boundary());
    }
}
