//! Rust text as the rules look at it: with comments and literals blanked out, and the tests marked. No parser: braces are
//! counted on the blanked text, which is enough for code that rustfmt has formatted.

/// One file.
pub(crate) struct Source {
    /// Relative to the root of the repository, with forward slashes.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The same lines with comments, strings and characters blanked out.
    pub(crate) code: String,
    /// For each line, whether it belongs to a `#[cfg(test)]` item.
    pub(crate) is_test_line: Vec<bool>,
}

impl Source {
    /// Looks at a text under a path.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank_out(text);
        let is_test_line = mark_tests(&code);
        Self { path: path.to_owned(), text: text.to_owned(), code, is_test_line }
    }

    /// Whether all of it is a test or a bench.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.contains("/benches/") || self.path.contains("/fuzz/")
    }

    /// Code lines outside of tests, with their numbers from one.
    pub(crate) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate().zip(&self.is_test_line);
        lines.filter(|(_, is_test)| !**is_test).map(|((at, line), _)| (at + 1, line))
    }
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
        let after = line.as_bytes().get(at + word.len()).copied();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Replaces what is not code by spaces; line ends stay.
fn blank_out(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = literal_or_comment(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        if length == 0 {
            code.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { ' ' });
            at += 1;
            continue;
        }
        code.extend(bytes[at..at + length].iter().map(|&byte| if byte == b'\n' { '\n' } else { ' ' }));
        at += length;
    }
    code
}

/// How long the comment, string or character is that begins here; 0 where none does.
fn literal_or_comment(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'b', b'"', ..] if !in_word => 2 + quoted(&rest[2..], b'"'),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 2),
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        // A lifetime has no quote after its first letter.
        [b'\'', ..] => {
            let character = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or_else(|error| error.valid_up_to(), str::len)
                .min(4);
            (1..=character).find(|&width| rest.get(1 + width) == Some(&b'\'')).map_or(0, |width| {
                let one_character = std::str::from_utf8(&rest[1..=width]).is_ok_and(|text| text.chars().count() == 1);
                if one_character { width + 2 } else { 0 }
            })
        }
        _ => 0,
    }
}

/// The length up to and with the closing quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let begin = prefix + hashes + 1;
    let length = rest[begin..].windows(end.len()).position(|window| window == end);
    length.map_or(rest.len(), |length| begin + length + end.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Marks each item under `#[cfg(test)]`, or under a condition that holds `test`, from the attribute to its end.
fn mark_tests(code: &str) -> Vec<bool> {
    let lines: Vec<&str> = code.lines().collect();
    let mut marked = vec![false; lines.len()];
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        if line.starts_with("#[cfg(") && has_word(line, "test") && !line.contains("not(test") {
            let end = item_end(&lines, at);
            marked[at..=end].fill(true);
            at = end;
        }
        at += 1;
    }
    marked
}

/// The last line of the item that begins at a line: its closing brace, or a semicolon before any brace.
pub(crate) fn item_end(lines: &[&str], begin: usize) -> usize {
    let mut depth = 0_i32;
    for (at, line) in lines.iter().enumerate().skip(begin) {
        for character in line.chars() {
            match character {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        return at;
                    }
                }
                ';' if depth == 0 && !line.trim_start().starts_with("#[") => return at,
                _ => {}
            }
        }
    }
    lines.len().saturating_sub(1)
}

#[test]
fn comments_and_literals_are_blank() {
    let code = |text| Source::new("a.rs", text).code;
    assert_eq!(code("a // b\nc"), "a     \nc");
    assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
    assert_eq!(code(r#"f("x\"y", 'z', '\'', b"w")"#), "f(      ,    ,     ,     )");
    assert_eq!(code(r##"r#"a"b"# + r"c""##), "         +     ");
    assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    assert_eq!(code("'ü' 'a: loop"), "     'a: loop");
}

#[test]
fn tests_are_marked_to_their_end() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nuse x;\nfn d() {}\n";
    assert_eq!(Source::new("a.rs", "#[cfg(all(test, not(loom)))]\nmod a {}").is_test_line, [true, true]);
    assert_eq!(Source::new("a.rs", "#[cfg(not(test))]\nmod a {}").is_test_line, [false, false]);
    assert_eq!(Source::new("a.rs", text).is_test_line, [false, true, true, true, true, false, true, true, false]);
}
