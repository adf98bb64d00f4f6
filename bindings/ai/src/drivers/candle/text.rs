//! Bytes of tokens put together to whole characters.

/// Collects the bytes of an answer and gives out the characters that are whole.
#[derive(Debug, Default)]
pub(super) struct TextDecoder {
    pending: Vec<u8>,
}

impl TextDecoder {
    /// Takes the bytes of a token; returns the characters that are whole now. Bytes that no character begins with become U+FFFD.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
                    let Some(broken) = error.error_len() else {
                        self.pending.drain(..valid);
                        return text;
                    };
                    text.push('\u{fffd}');
                    self.pending.drain(..valid + broken);
                }
            }
        }
    }

    /// What is left when the answer is over: a character that never became whole is U+FFFD.
    pub(super) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_over_several_tokens_comes_out_once_and_whole() {
        let mut decoder = TextDecoder::default();
        let pieces: Vec<String> = "a\u{1f600}b".bytes().map(|byte| decoder.push(&[byte])).collect();
        assert_eq!(pieces, ["a", "", "", "", "\u{1f600}", "b"]);
        assert_eq!(decoder.finish(), "");
    }

    #[test]
    fn broken_bytes_are_replaced_and_nothing_is_lost() {
        let mut decoder = TextDecoder::default();
        assert_eq!(decoder.push(b"a\xff\xc3b"), "a\u{fffd}\u{fffd}b");
        assert_eq!(decoder.push(b"\xf0\x9f"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
    }
}
