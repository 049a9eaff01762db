//! Records from the launcher to the grader: a kind, a length, and bytes.

use super::Layer;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The log is forwarded in pieces; nothing else is long.
const MOST: usize = 1 << 20;

/// What the launcher says.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The layers of the sandbox, before the program starts.
    Layers(Vec<Layer>),
    /// What the program wrote to its standard output and error.
    Log(Vec<u8>),
    /// The program's working directory had no room left when it ended.
    DirectoryFull,
    /// The program ended.
    Ended(Ended),
    /// The program was not started.
    NotStarted(String),
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

pub(super) fn write_record(to: &mut impl Write, record: &Record) -> io::Result<()> {
    let (kind, bytes) = match record {
        Record::Layers(layers) => (b'L', serde_json::to_vec(layers)?),
        Record::Log(bytes) => (b'O', bytes.clone()),
        Record::DirectoryFull => (b'F', Vec::new()),
        Record::Ended(ended) => (b'E', serde_json::to_vec(ended)?),
        Record::NotStarted(why) => (b'N', why.clone().into_bytes()),
    };
    let mut message = vec![kind];
    message.extend((bytes.len() as u32).to_le_bytes());
    message.extend(bytes);
    // In one write: the log's thread and the main one share the pipe.
    to.write_all(&message)
}

/// The next record; nothing at the end.
///
/// # Errors
/// When the pipe breaks, or holds something else.
pub fn read_record(from: &mut impl Read) -> io::Result<Option<Record>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(match head[0] {
        b'L' => Record::Layers(serde_json::from_slice(&bytes)?),
        b'O' => Record::Log(bytes),
        b'F' => Record::DirectoryFull,
        b'E' => Record::Ended(serde_json::from_slice(&bytes)?),
        b'N' => Record::NotStarted(String::from_utf8_lossy(&bytes).into_owned()),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let records = [
            Record::Layers(Vec::new()),
            Record::Log(b"hello\n".to_vec()),
            Record::DirectoryFull,
            Record::Ended(Ended::Signal(9)),
            Record::NotStarted("no such file".into()),
        ];
        let mut bytes = Vec::new();
        for record in &records {
            write_record(&mut bytes, record).expect("memory");
        }
        let mut from = &bytes[..];
        for record in records {
            assert_eq!(read_record(&mut from).expect("a record"), Some(record));
        }
        assert_eq!(read_record(&mut from).expect("the end"), None);
        assert!(read_record(&mut &b"L\xff\xff\xff\xff"[..]).is_err());
    }
}
