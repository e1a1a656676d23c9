//! Messages on a pipe: four bytes of length, little-endian, and as many bytes of content.

use std::io::{self, Read, Write};

/// Writes one message.
pub(super) fn write(pipe: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let len = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    pipe.write_all(&len.to_le_bytes())?;
    pipe.write_all(message)?;
    pipe.flush()
}

/// Reads one message; `None` where the pipe ends before it. Memory is allocated as the bytes arrive, not by the
/// length that was announced.
///
/// # Errors
/// The pipe fails or ends inside the message, or the message has more than `max` bytes.
pub(super) fn read(pipe: &mut impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    if pipe.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    pipe.read_exact(&mut len[1..])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = Vec::new();
    match pipe.take(len as u64).read_to_end(&mut message)? {
        n if n == len => Ok(Some(message)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let mut pipe = Vec::new();
        for message in [&b""[..], b"x", &[7; 100_000]] {
            write(&mut pipe, message).unwrap();
        }
        let mut rest = &pipe[..];
        for len in [0, 1, 100_000] {
            assert_eq!(read(&mut rest, 100_000).unwrap().unwrap().len(), len);
        }
        assert!(read(&mut rest, 100_000).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_cut_short_or_too_long_is_an_error() {
        for bytes in [&b"\x01"[..], b"\x02\0\0\0x", b"\xff\xff\xff\xffx", b"\x09\0\0\0abcdefghi"] {
            assert!(read(&mut &bytes[..], 8).is_err(), "{bytes:?}");
        }
    }
}
