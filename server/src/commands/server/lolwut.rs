//! LOLWUT: a torc, the neck ring that the server is named after, twisted anew each time.

use super::ROW;
use crate::commands::SessionCommand;
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::integer;
use torc_engine::command::{Flags, Spec, parse_integer};

/// The row.
pub(super) const LOLWUT: SessionCommand = SessionCommand {
    spec: Spec {
        name: "lolwut",
        flags: Flags::READONLY.or(Flags::FAST),
        since: "5.0.0",
        complexity: "",
        summary: "Draws a picture and gives the server's version",
        arguments: &[integer("version").token("VERSION").optional()],
        ..ROW
    },
    syntax: "[VERSION version] [twists]",
    run: lolwut,
};

const TWISTS_MAX: i64 = 200;

fn lolwut(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let mut options = &arguments[1..];
    if let [word, version, rest @ ..] = options
        && word.eq_ignore_ascii_case(b"version")
    {
        // Every version has the same picture.
        parse_integer(version).ok_or("ERR value is not an integer or out of range")?;
        options = rest;
    }
    let twists = options.first().and_then(|word| parse_integer(word));
    let twists = twists.unwrap_or_else(|| session.core.shard.random().i64(6..24));
    let picture = torc(twists.clamp(0, TWISTS_MAX) as f64);
    let (torc_version, redis_version) = (env!("CARGO_PKG_VERSION"), session.core.shared.config().redis_version.clone());
    let text = format!("{picture}\nTorc ver. {torc_version} (Redis ver. {redis_version})\n");
    session.reply().verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// An open ring of two strands that wind around each other, with a knob at each end.
fn torc(twists: f64) -> String {
    const WIDTH: usize = 44;
    const HEIGHT: usize = 20;
    /// Half of the gap at the bottom, in radians.
    const GAP: f64 = 0.35;
    let mut picture = String::with_capacity((WIDTH + 1) * HEIGHT);
    for row in 0..HEIGHT {
        let mut line = String::with_capacity(WIDTH);
        for column in 0..WIDTH {
            let x = (column as f64 + 0.5) / WIDTH as f64 * 2.0 - 1.0;
            let y = (row as f64 + 0.5) / HEIGHT as f64 * 2.0 - 1.0;
            let (radius, from_gap) = (x.hypot(y), x.atan2(y).abs() - GAP);
            let depth = (radius - 0.78) / 0.2;
            line.push(if depth.abs() > 1.0 || from_gap < 0.0 {
                ' '
            } else if from_gap < 0.12 {
                'O'
            } else {
                // Which strand lies on top changes along the ring and across it.
                let phase = (x.atan2(y) * twists / 2.0 + depth * 1.5).sin();
                match phase {
                    0.6.. => '#',
                    0.1.. => '=',
                    -0.4.. => '-',
                    _ => '.',
                }
            });
        }
        picture.push_str(line.trim_end());
        picture.push('\n');
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torc_is_open_at_the_bottom_and_hollow() {
        let picture = torc(12.0);
        let lines: Vec<&str> = picture.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= 44 && line.trim_end() == *line));
        let at = |row: usize, column: usize| lines[row].as_bytes().get(column).copied().unwrap_or(b' ');
        assert_ne!(at(1, 22), b' ');
        assert_eq!(at(10, 22), b' ');
        assert_eq!(at(18, 22), b' ');
        assert!(picture.contains('O'));
        assert_ne!(picture, torc(7.0));
    }
}
