//! The first line of a script or library: `#!lua name=mylib flags=no-writes,allow-oom`.

use crate::libraries::FunctionFlags;

/// Cuts a line at spaces, with quotes as the configuration file has them; nothing if quotes do not close.
pub(crate) fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        if matches!(line.get(at), None | Some(0)) {
            return Some(words);
        }
        let mut word = Vec::new();
        loop {
            match line.get(at) {
                None | Some(0) => break,
                Some(byte) if is_space(*byte) => break,
                Some(quote @ (b'"' | b'\'')) => {
                    at = quoted(line, at + 1, *quote, &mut word)?;
                    if line.get(at).is_some_and(|byte| !is_space(*byte)) {
                        return None;
                    }
                }
                Some(byte) => {
                    word.push(*byte);
                    at += 1;
                }
            }
        }
        words.push(word);
    }
}

/// Reads up to the closing quote; returns the place behind it.
fn quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    let hexadecimal = |at: usize| line.get(at).and_then(|byte| (*byte as char).to_digit(16));
    loop {
        match (*line.get(at)?, line.get(at + 1)) {
            (byte, _) if byte == quote => return Some(at + 1),
            (b'\\', Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                at += 2;
            }
            (b'\\', Some(b'x')) if quote == b'"' && hexadecimal(at + 2).is_some() && hexadecimal(at + 3).is_some() => {
                word.push((hexadecimal(at + 2)? << 4 | hexadecimal(at + 3)?) as u8);
                at += 4;
            }
            (b'\\', Some(escaped)) if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                at += 2;
            }
            (byte, _) => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// The line without its end, and how long it is; nothing if the code has no such line.
fn first_line(code: &[u8]) -> Option<&[u8]> {
    code.iter().position(|byte| *byte == b'\n').map(|end| &code[..end])
}

/// The flags of a script, if it has a first line of this kind, and the length of that line.
pub(crate) fn of_script(code: &[u8]) -> Result<(Option<FunctionFlags>, usize), Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Ok((None, 0));
    }
    let line = first_line(code).ok_or(b"ERR Invalid script shebang".to_vec())?;
    let words = split_words(line).filter(|words| !words.is_empty());
    let words = words.ok_or(b"ERR Invalid engine in script shebang".to_vec())?;
    if words[0] != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", &words[0][..]].concat());
    }
    let mut flags = FunctionFlags::default();
    for word in &words[1..] {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", &word[..]].concat());
        };
        if names.is_empty() {
            continue;
        }
        for name in names.split(|byte| *byte == b',') {
            if !flags.set(name) {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            }
        }
    }
    Ok((Some(flags), line.len()))
}

/// What the first line of a library says.
pub(crate) struct LibraryLine {
    pub(crate) engine: Vec<u8>,
    pub(crate) name: Vec<u8>,
    /// Length of the line, without its end.
    pub(crate) length: usize,
}

/// The first line of a library.
pub(crate) fn of_library(code: &[u8]) -> Result<LibraryLine, Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Err(b"ERR Missing library metadata".to_vec());
    }
    let invalid = || b"ERR Invalid library metadata".to_vec();
    let line = first_line(code).ok_or_else(invalid)?;
    let words = split_words(line).filter(|words| !words.is_empty()).ok_or_else(invalid)?;
    let mut name = None;
    for word in &words[1..] {
        match word.get(..5).filter(|begin| begin.eq_ignore_ascii_case(b"name=")) {
            Some(_) if name.is_some() => {
                return Err(b"ERR Invalid metadata value, name argument was given multiple times".to_vec());
            }
            Some(_) => name = Some(word[5..].to_vec()),
            None => return Err([b"ERR Invalid metadata value given: ", &word[..]].concat()),
        }
    }
    let name = name.ok_or(b"ERR Library name was not given".to_vec())?;
    Ok(LibraryLine { engine: words[0][2..].to_vec(), name, length: line.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_of_scripts() {
        for (code, expected) in [
            ("return 1", Ok(None)),
            ("#!lua\nx", Ok(Some(""))),
            ("#!lua flags=\nx", Ok(Some(""))),
            ("#!lua  flags=no-writes,allow-oom \nx", Ok(Some("no-writes allow-oom"))),
            ("#!lua flags=no-writes flags=allow-stale\nx", Ok(Some("no-writes allow-stale"))),
            ("#!lua", Err("ERR Invalid script shebang")),
            ("#!lua \"x\nx", Err("ERR Invalid engine in script shebang")),
            ("#!js\nx", Err("ERR Unexpected engine in script shebang: #!js")),
            ("#!lua flags=bad\nx", Err("ERR Unexpected flag in script shebang: bad")),
            ("#!lua flags=no-writes,\nx", Err("ERR Unexpected flag in script shebang: ")),
            ("#!lua name=x\nx", Err("ERR Unknown lua shebang option: name=x")),
        ] {
            let found = of_script(code.as_bytes())
                .map(|(flags, _)| flags.map(|flags| flags.names().collect::<Vec<_>>().join(" ")))
                .map_err(|error| String::from_utf8(error).unwrap());
            assert_eq!(
                found,
                expected.map(|flags: Option<&str>| flags.map(str::to_owned)).map_err(str::to_owned),
                "{code}"
            );
        }
    }

    #[test]
    fn first_lines_of_libraries() {
        for (code, expected) in [
            ("#!lua name=a\nx", Ok(("lua", "a"))),
            ("#!js  NAME=\"a\"\nx", Ok(("js", "a"))),
            ("#!js  \"NAME=a\"\nx", Ok(("js", "a"))),
            ("#!\nx", Err("ERR Library name was not given")),
            ("#!lua name=a", Err("ERR Invalid library metadata")),
            ("x", Err("ERR Missing library metadata")),
            ("#! lua name=a\nx", Err("ERR Invalid metadata value given: lua")),
            ("#!lua name=a name=b\nx", Err("ERR Invalid metadata value, name argument was given multiple times")),
        ] {
            let found = of_library(code.as_bytes())
                .map(|line| (String::from_utf8(line.engine).unwrap(), String::from_utf8(line.name).unwrap()))
                .map_err(|error| String::from_utf8(error).unwrap());
            let expected = expected.map(|(engine, name): (&str, &str)| (engine.to_owned(), name.to_owned()));
            assert_eq!(found, expected.map_err(str::to_owned), "{code}");
        }
    }
}
