//! Percent-encoding, as in the query of a presigned URL.

/// Percent-encodes as botocore does (`quote(text, safe='-_.~')`): everything but RFC 3986's
/// unreserved characters, byte by byte, in capitals.
pub(crate) fn percent_encoded(text: &str) -> String {
    // As long as it can get, so that no half of a secret is left behind by a growing buffer.
    let mut out = String::with_capacity(3 * text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// The text that `encoded` came from, where it is what `percent_encode` wrote.
pub(crate) fn percent_decoded(encoded: &str) -> String {
    // As long as it can get: see above.
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next(), rest.next()];
            let value = digits.into_iter().flatten().fold(0, |value: u8, digit| {
                (value << 4)
                    | (digit
                        - if digit.is_ascii_digit() {
                            b'0'
                        } else {
                            b'A' - 10
                        })
            });
            bytes.push(value);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            prop_assert_eq!(percent_decoded(&percent_encoded(&text)), text);
        }
    }
}
