//! The picture: a bar for each ratio, with a line where the peer stands. Plain SVG that follows the reader's light or dark
//! theme and needs no script and no font of its own.

use std::fmt::Write as _;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is.
    pub label: String,
    /// Ours by theirs.
    pub ratio: f64,
    /// Our value.
    pub ours: String,
    /// Theirs.
    pub theirs: String,
}

const WIDTH: f64 = 760.0;
const ROW_HEIGHT: f64 = 30.0;
const BAR_HEIGHT: f64 = 18.0;
const TOP: f64 = 64.0;
/// Where bars begin and how far they may reach.
const BARS_LEFT: f64 = 260.0;
const BARS_WIDTH: f64 = 330.0;

/// Draws the bars under a title.
pub fn draw(title: &str, subtitle: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW_HEIGHT * bars.len() as f64 + 34.0;
    // The longest bar, and the peer's line at 1, fit.
    let longest = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max) * 1.04;
    let x = |ratio: f64| BARS_LEFT + BARS_WIDTH * ratio / longest;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{}">
<style>
  text {{ font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }}
  .title {{ font-size: 16px; font-weight: 600; }}
  .faint {{ fill: #59636e; font-size: 12px; }}
  .bar {{ fill: #1f6feb; }}
  .over {{ fill: #bc4c00; }}
  .track {{ fill: #818b98; fill-opacity: 0.14; }}
  .peer {{ stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3; }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf3; }}
    .faint {{ fill: #9198a1; }}
    .bar {{ fill: #4493f8; }}
    .over {{ fill: #f0883e; }}
    .peer {{ stroke: #9198a1; }}
  }}
</style>
<text class="title" x="16" y="26">{}</text>
<text class="faint" x="16" y="46">{}</text>
"#,
        escape(title),
        escape(title),
        escape(subtitle)
    );
    for (at, bar) in bars.iter().enumerate() {
        let top = TOP + ROW_HEIGHT * at as f64;
        let middle = top + BAR_HEIGHT / 2.0 + 4.5;
        let class = if bar.ratio > 1.0 { "bar over" } else { "bar" };
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{middle:.1}" text-anchor="end">{}</text>
<rect class="track" x="{BARS_LEFT}" y="{top:.1}" width="{BARS_WIDTH}" height="{BAR_HEIGHT}" rx="3"/>
<rect class="{class}" x="{BARS_LEFT}" y="{top:.1}" width="{:.1}" height="{BAR_HEIGHT}" rx="3"/>
<text x="{:.1}" y="{middle:.1}">{:.2}× <tspan class="faint">({} : {})</tspan></text>
"#,
            BARS_LEFT - 10.0,
            escape(&bar.label),
            x(bar.ratio) - BARS_LEFT,
            BARS_LEFT + BARS_WIDTH + 10.0,
            bar.ratio,
            escape(&bar.ours),
            escape(&bar.theirs),
        );
    }
    let bottom = TOP + ROW_HEIGHT * bars.len() as f64;
    let _ = write!(
        svg,
        r#"<line class="peer" x1="{0:.1}" y1="{1:.1}" x2="{0:.1}" y2="{bottom:.1}"/>
<text class="faint" x="{0:.1}" y="{2:.1}" text-anchor="middle">the peer</text>
</svg>
"#,
        x(1.0),
        TOP - 6.0,
        bottom + 16.0,
    );
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_well_formed_and_holds_every_bar() {
        let bar = |ratio| Bar { label: "a < b".to_owned(), ratio, ours: "1".to_owned(), theirs: "2".to_owned() };
        let svg = draw("T & U", "s", &[bar(0.5), bar(2.0)]);
        assert_eq!(svg.matches("class=\"bar").count(), 2);
        assert_eq!(svg.matches("class=\"bar over\"").count(), 1);
        assert!(svg.contains("a &lt; b") && svg.contains("T &amp; U"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        // The longest bar stays inside of its track.
        assert!(svg.contains(&format!("width=\"{:.1}\"", BARS_WIDTH / 1.04)), "{svg}");
    }
}
