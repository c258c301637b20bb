//! The files of a log: its commands, and its manifest.

use crate::memory::bounded;
use torc_persistence::aof::frames::{Frame, Frames};
use torc_persistence::aof::manifest::Manifest;
use torc_persistence::aof::text::{EXEC, MULTI, write_command, write_select, write_time};

/// What a reader of commands sees.
#[derive(Debug, PartialEq)]
struct Seen {
    commands: Vec<Vec<Vec<u8>>>,
    times: Vec<Option<i64>>,
    ending: String,
    whole_up_to: u64,
}

fn read(bytes: &[u8], piece_bytes: usize) -> Seen {
    let mut frames = Frames::new(0, bytes.len() as u64);
    let (mut commands, mut times) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece_bytes.max(1)) {
        bounded(bytes.len(), || frames.push(piece));
        loop {
            match frames.next_frame() {
                Ok(None) => break,
                Ok(Some(Frame::Command(command))) => {
                    let place = command.offset as usize;
                    assert_eq!(&bytes[place..place + command.bytes.len()], command.bytes);
                    assert!(!command.is_empty() && command.arguments().next() == Some(command.name()));
                    commands.push(command.arguments().map(<[u8]>::to_vec).collect());
                }
                Ok(Some(Frame::Remark { seconds, .. })) => times.push(seconds),
                Err(bad) => {
                    assert!(bad.offset <= bytes.len() as u64);
                    let whole_up_to = frames.whole_up_to();
                    return Seen { commands, times, ending: bad.to_string(), whole_up_to };
                }
            }
        }
    }
    let ending = format!("{:?}", frames.end());
    Seen { commands, times, ending, whole_up_to: frames.whole_up_to() }
}

/// Reads commands at once and in pieces; what is whole is whole by itself, and is written as it was understood.
pub fn check_frames(bytes: &[u8]) {
    let seen = bounded(bytes.len(), || read(bytes, bytes.len()));
    assert_eq!(read(bytes, [1, 2, 5, 100][bytes.len() % 4]), seen, "in pieces it is another file");
    let whole = read(&bytes[..seen.whole_up_to as usize], usize::MAX);
    assert_eq!((whole.whole_up_to, &whole.ending[..]), (seen.whole_up_to, "Whole"));
    let mut again = Vec::new();
    whole.commands.iter().for_each(|words| write_command(&mut again, words));
    assert_eq!(read(&again, usize::MAX).commands, whole.commands);
}

/// Reads a manifest; what was accepted is written, and read as the same.
pub fn check_manifest(bytes: &[u8]) {
    let Ok(manifest) = bounded(bytes.len(), || Manifest::parse(bytes)) else { return };
    for file in manifest.base.iter().chain(&manifest.incremental).chain(&manifest.history) {
        assert!(!file.name.is_empty() && file.sequence != 0);
        assert!(
            !file.name.contains(&b'/') && file.name != b"." && file.name != b"..",
            "a name leads out of the directory"
        );
    }
    if manifest.is_empty() && manifest.history.is_empty() {
        return;
    }
    let text = manifest.text();
    // A name may be too long for a line once it is quoted.
    if text.split(|byte| *byte == b'\n').all(|line| line.len() < 1000) {
        assert_eq!(Manifest::parse(&text), Ok(manifest), "{}", text.escape_ascii());
    }
}

/// Logs that are read without complaint.
pub fn frames_seeds() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    write_select(&mut whole, 0);
    write_time(&mut whole, 1_700_000_000);
    write_command(&mut whole, &["SET", "key", "a\r\nb"]);
    whole.extend_from_slice(MULTI);
    write_command(&mut whole, &["INCR", "n"]);
    write_command(&mut whole, &["RPUSH", "list", "", "b", &"x".repeat(200)]);
    whole.extend_from_slice(EXEC);
    write_command(&mut whole, &["SET", "b", "2"]);
    vec![whole, MULTI.to_vec(), b"#TS:1700000000\r\n".to_vec(), Vec::new()]
}

/// Manifests that are read without complaint.
pub fn manifest_seeds() -> Vec<Vec<u8>> {
    [
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
        "file a.3.base.aof seq 3 type b\nfile a.6.incr.aof seq 6 type h\nfile a.7.incr.aof seq 7 type i\nfile a.8.incr.aof seq 8 type i\n",
        "# a remark\nfile \"a b\\x01\" seq 1 type b other thing\n",
        "file 'it''s' seq 2 type i\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A log made up.
pub fn generate_frames(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..8) {
        match random.u8(..8) {
            0 => bytes.extend_from_slice(MULTI),
            1 => bytes.extend_from_slice(EXEC),
            2 => write_command(&mut bytes, &["discard"]),
            3 => write_time(&mut bytes, random.i64(..)),
            4 => bytes.extend_from_slice(format!("*{}\r\n", random.i64(-1..4)).as_bytes()),
            5 => bytes.extend_from_slice(format!("${}\r\n", random.i64(-1..4)).as_bytes()),
            _ => {
                let words: Vec<Vec<u8>> =
                    (0..random.usize(1..4)).map(|_| b"\r\n*$ab1"[..random.usize(..8)].to_vec()).collect();
                write_command(&mut bytes, &words);
            }
        }
    }
    bytes
}

/// A manifest made up.
pub fn generate_manifest(random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "file",
        "seq",
        "type",
        "b",
        "i",
        "h",
        "1",
        "2",
        "-1",
        "9223372036854775807",
        "a.aof",
        "..",
        "\"a\\\"",
        "'b'",
        "\\",
        "#",
        "FILE",
        "\0",
        "\t",
    ];
    let mut text = String::new();
    for number in 0..random.usize(..5) {
        if random.bool() {
            text += &format!("file f{number} seq {number} type {}\n", ["b", "i", "h", "x"][random.usize(..4)]);
        } else {
            let words: Vec<&str> = (0..random.usize(..10)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
            text += &words.join(" ");
            text += ["\n", "\r\n", ""][random.usize(..3)];
        }
    }
    text.into_bytes()
}
