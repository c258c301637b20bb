//! What a log adds to its commands.

pub use torc_engine::journal::write_command;

/// The beginning of a transaction.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// Its end.
pub const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// What stands in front of a time.
pub const TIME_PREFIX: &[u8] = b"#TS:";

/// Commands that follow are for this database.
pub fn write_select(out: &mut Vec<u8>, database: usize) {
    let mut digits = itoa::Buffer::new();
    write_command(out, &[b"SELECT".as_slice(), digits.format(database).as_bytes()]);
}

/// When what follows was done, in seconds since 1970.
pub fn write_time(out: &mut Vec<u8>, seconds: i64) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(TIME_PREFIX);
    out.extend_from_slice(digits.format(seconds).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_clients_send_them() {
        let mut out = Vec::new();
        write_select(&mut out, 12);
        write_time(&mut out, 1_700_000_000);
        write_command(&mut out, &["SET", "k", ""]);
        let expected = "*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n";
        assert_eq!(out, expected.as_bytes());
        assert_eq!([MULTI, EXEC].concat(), b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n");
    }
}
