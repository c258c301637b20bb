//! The console in a browser without a window, where there is one: it draws what the server tells, asks for the token where
//! one is set, and needs nothing from elsewhere.

use super::http::get;
use super::server;
use crate::support::server::new_directory;
use std::path::Path;
use std::process::{Command, Stdio};

const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// The page as it is after some seconds of its time; none, with a printed reason, where there is no browser.
fn page_after_a_while(admin: u16) -> Option<String> {
    let Some(browser) = BROWSERS.into_iter().find(|browser| Path::new(browser).exists()) else {
        println!("the console is not looked at: there is none of {BROWSERS:?}");
        return None;
    };
    let directory = new_directory();
    let mut start = Command::new(browser);
    start.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    start.args(["--window-size=400,900", "--virtual-time-budget=6000", "--timeout=60000", "--dump-dom"]);
    start.arg(format!("--user-data-dir={}", directory.display()));
    start.arg(format!("http://127.0.0.1:{admin}/"));
    let output = start.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("the browser runs");
    let _ = std::fs::remove_dir_all(directory);
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_browser_shows_the_server() {
    let (server, admin) = server(3, &["--slowlog-log-slower-than", "0"]);
    let mut client = server.client();
    assert_eq!(client.ask("HOTKEYS START METRICS 2 CPU NET"), "+OK");
    for index in 0..50 {
        assert_eq!(client.ask(&format!("SET key:{index} value")), "+OK");
    }
    for _ in 0..200 {
        assert_eq!(client.ask("GET key:7"), "\"value\"");
    }
    assert_eq!(client.ask("SET <i> x"), "+OK");
    assert_eq!(client.ask("DEL <i>"), ":1");
    let Some(page) = page_after_a_while(admin) else { return };
    assert!(page.contains("<body data-state=\"live\">"), "{page}");
    assert!(page.contains("class=\"pill good\">ready</span>") || page.contains(">ready<"), "{page}");
    assert!(page.contains("<output id=\"tile-keys\">50</output>"), "{page}");
    assert_eq!(page.matches(">serves</td>").count(), 3, "{page}");
    assert!(page.matches("<polyline").count() >= 3 && page.contains("<td>set</td>"), "{page}");
    // What others have sent is text, whatever it is.
    assert!(page.contains(">GET key:7</td>") && page.contains(">SET &lt;i&gt; x</td>"), "{page}");
    assert!(page.contains(">key:7</td>") && !page.contains("<i>"), "{page}");
}

#[test]
fn a_browser_asks_for_the_token() {
    let (_server, admin) = server(1, &["--admin-token", "secret"]);
    let Some(page) = page_after_a_while(admin) else { return };
    assert!(page.contains("<body data-state=\"locked\">") && page.contains("id=\"token\""), "{page}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let (_server, admin) = server(1, &[]);
    let page = get(admin, "/");
    assert!(page.head.contains("Content-Security-Policy: default-src 'none';"), "{}", page.head);
    for outside in ["src=\"http", "href=\"http", "@import", "url(http", "innerHTML", "eval("] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    // The name of a namespace is no address.
    assert_eq!(page.body.matches("http").count(), page.body.matches("http://www.w3.org/2000/svg").count());
}
