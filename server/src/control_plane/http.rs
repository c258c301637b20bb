//! HTTP/1.1 as bytes: heads of requests in, answers out. No socket, no clock.
//!
//! ```text
//!   bytes ──parse──> Partial      more has to come, and may
//!                    Request      GET or HEAD of a path, by whom, and how many bytes its head had
//!                    Refused      a status; the connection ends behind it
//! ```
//! Requests have no bodies here: one that announces a body is refused, so what follows a head is always the next head, and
//! nothing can be smuggled in between. A head is bounded, so is its number of fields, so is its target.

use std::borrow::Cow;

/// Bytes of a head at the most.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a target at the most.
pub const TARGET_BYTES_MAX: usize = 1024;
/// Fields of a head at the most.
const FIELDS_MAX: usize = 64;

/// What an answer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 401: the token is missing or wrong.
    Unauthorized,
    /// 404.
    NotFound,
    /// 405: neither GET nor HEAD.
    MethodNotAllowed,
    /// 408: the head did not come in time.
    RequestTimeout,
    /// 414.
    TargetTooLong,
    /// 421: asked for under a name that is not ours.
    Misdirected,
    /// 431: the head is too large.
    HeadTooLarge,
    /// 503.
    Unavailable,
    /// 505.
    VersionNotSupported,
}

impl Status {
    /// Its number and what it is called.
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::TargetTooLong => "414 URI Too Long",
            Self::Misdirected => "421 Misdirected Request",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The field that some have of their own.
    fn field(self) -> &'static str {
        match self {
            Self::Unauthorized => "WWW-Authenticate: Bearer realm=\"torc\"\r\n",
            Self::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        }
    }
}

/// A request whose head is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// HEAD: the answer has no body.
    pub is_head: bool,
    /// The target up to its `?`.
    pub path: String,
    /// The name or address that it is sent to, without the port.
    pub host: Option<String>,
    /// What follows `Authorization: Bearer`.
    pub token: Option<Vec<u8>>,
    /// Others may follow on the same connection.
    pub keeps_alive: bool,
}

/// What bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a head.
    Partial,
    /// A request, and the length of its head.
    Request(Request, usize),
    /// Nothing that is answered otherwise.
    Refused(Status),
}

/// Reads a head from the beginning of what has come so far.
pub fn parse(received: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let window = &received[..received.len().min(HEAD_BYTES_MAX)];
    let parsed = head.parse(window);
    if head.path.is_some_and(|target| target.len() > TARGET_BYTES_MAX) {
        return Parsed::Refused(Status::TargetTooLong);
    }
    match parsed {
        Ok(httparse::Status::Complete(length)) => match request(&head) {
            Ok(request) => Parsed::Request(request, length),
            Err(status) => Parsed::Refused(status),
        },
        Ok(httparse::Status::Partial) if received.len() < HEAD_BYTES_MAX => Parsed::Partial,
        Ok(httparse::Status::Partial) => Parsed::Refused(match head.path {
            Some(_) => Status::HeadTooLarge,
            None if head.method.is_some() => Status::TargetTooLong,
            None => Status::BadRequest,
        }),
        Err(httparse::Error::TooManyHeaders) => Parsed::Refused(Status::HeadTooLarge),
        Err(httparse::Error::Version) if names_a_version(window) => Parsed::Refused(Status::VersionNotSupported),
        Err(_) => Parsed::Refused(Status::BadRequest),
    }
}

/// Whether the first line has a version of HTTP where one belongs.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

fn request(head: &httparse::Request<'_, '_>) -> Result<Request, Status> {
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    let is_current = head.version == Some(1);
    let mut request = Request { is_head, keeps_alive: is_current, ..Request::default() };
    let target = head.path.unwrap_or_default();
    // A proxy's form has the host in front.
    let target = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    if !target.starts_with('/') {
        return Err(Status::BadRequest);
    }
    target.split(['?', '#']).next().unwrap_or_default().clone_into(&mut request.path);
    for field in head.headers.iter() {
        take_field(&mut request, field)?;
    }
    if is_current && request.host.is_none() {
        return Err(Status::BadRequest);
    }
    Ok(request)
}

fn take_field(request: &mut Request, field: &httparse::Header<'_>) -> Result<(), Status> {
    let value = field.value.trim_ascii();
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    if is("host") {
        let host = host_of(value).ok_or(Status::BadRequest)?;
        if request.host.replace(host).is_some() {
            return Err(Status::BadRequest);
        }
    } else if is("authorization") {
        let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        request.token = scheme.map(|_| value[7..].trim_ascii().to_vec());
    } else if is("connection") {
        for word in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if word.eq_ignore_ascii_case(b"close") {
                request.keeps_alive = false;
            } else if word.eq_ignore_ascii_case(b"keep-alive") {
                request.keeps_alive = true;
            }
        }
    } else if is("transfer-encoding") || (is("content-length") && value != b"0") {
        return Err(Status::BadRequest);
    }
    Ok(())
}

/// The host of `host:port`, `[address]:port` or either alone.
fn host_of(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.split(':').next().unwrap_or_default(),
    };
    Some(host.to_ascii_lowercase())
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Answer {
    /// A text.
    pub fn text(status: Status, body: impl Into<String>) -> Self {
        let body = Cow::Owned(body.into().into_bytes());
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// A JSON document.
    pub fn json(status: Status, document: &serde_json::Value) -> Self {
        let body = Cow::Owned(format!("{document}\n").into_bytes());
        Self { status, content_type: "application/json", body }
    }

    /// Of a status alone: what it is called.
    pub fn of(status: Status) -> Self {
        Self::text(status, format!("{}\n", status.line()))
    }

    /// As it is sent. Pages may be shown in no frame, and load nothing from anywhere but here.
    pub fn encode(&self, is_head: bool, keeps_alive: bool) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{}Connection: {connection}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\r\n",
            status.line(),
            body.len(),
            status.field(),
        );
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// What fuzzing holds against any bytes: they are the beginning of a head, a request, or refused; and a beginning is waited for
/// or comes to the same.
#[doc(hidden)]
pub fn check_pieces(bytes: &[u8]) {
    let whole = parse(bytes);
    match &whole {
        Parsed::Partial => assert!(bytes.len() < HEAD_BYTES_MAX),
        Parsed::Request(_, length) => assert_eq!(parse(&bytes[..*length]), whole),
        Parsed::Refused(_) => {}
    }
    let early = parse(&bytes[..bytes.len() / 2]);
    assert!(early == Parsed::Partial || early == whole);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads() {
        let host = "Host: localhost\r\n";
        let long = |count: usize| "x".repeat(count);
        let cases: Vec<(String, Result<&str, Status>)> = vec![
            (format!("GET / HTTP/1.1\r\n{host}\r\n"), Ok("/")),
            (format!("GET /metrics?x=1 HTTP/1.1\r\n{host}\r\n"), Ok("/metrics")),
            ("GET http://127.0.0.1:9/ready HTTP/1.1\r\nHost: a\r\n\r\n".into(), Ok("/ready")),
            ("HEAD /health HTTP/1.0\r\n\r\n".into(), Ok("/health")),
            (format!("POST / HTTP/1.1\r\n{host}\r\n"), Err(Status::MethodNotAllowed)),
            (format!("get / HTTP/1.1\r\n{host}\r\n"), Err(Status::MethodNotAllowed)),
            ("GET / HTTP/1.1\r\n\r\n".into(), Err(Status::BadRequest)),
            (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), Err(Status::BadRequest)),
            (format!("GET * HTTP/1.1\r\n{host}\r\n"), Err(Status::BadRequest)),
            (format!("GET / HTTP/2.0\r\n{host}\r\n"), Err(Status::VersionNotSupported)),
            ("GET /\r\n\r\n".into(), Err(Status::BadRequest)),
            (format!("GET / HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"), Err(Status::BadRequest)),
            (format!("GET / HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"), Ok("/")),
            (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"), Err(Status::BadRequest)),
            ("\x16\x03\x01\x02\x00\x01".into(), Err(Status::BadRequest)),
            ("*1\r\n$4\r\nPING\r\n".into(), Err(Status::BadRequest)),
            (format!("GET /{} HTTP/1.1\r\n{host}\r\n", long(2000)), Err(Status::TargetTooLong)),
            (format!("GET /{}", long(9000)), Err(Status::TargetTooLong)),
            (format!("GET / HTTP/1.1\r\n{host}X: {}", long(9000)), Err(Status::HeadTooLarge)),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)), Err(Status::HeadTooLarge)),
        ];
        for (text, expected) in cases {
            match (parse(text.as_bytes()), expected) {
                (Parsed::Request(request, _), Ok(path)) => assert_eq!(request.path, path, "{text}"),
                (Parsed::Refused(status), Err(expected)) => assert_eq!(status, expected, "{text}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
    }

    #[test]
    fn what_a_request_says_of_itself() {
        let text =
            "GET / HTTP/1.1\r\nhost: [::1]:80\r\nAUTHORIZATION: bearer  secret \r\nConnection: x, Close\r\n\r\nGET";
        let Parsed::Request(request, length) = parse(text.as_bytes()) else { panic!("no request") };
        assert_eq!(length, text.len() - 3);
        assert_eq!(request.host.as_deref(), Some("::1"));
        assert_eq!(request.token.as_deref(), Some(b"secret".as_slice()));
        assert!(!request.keeps_alive && !request.is_head);
        let Parsed::Request(old, _) = parse(b"GET / HTTP/1.0\r\nAuthorization: Basic YTpi\r\n\r\n") else { panic!() };
        assert!(!old.keeps_alive && old.token.is_none() && old.host.is_none());
    }

    #[test]
    fn an_answer_to_head_tells_the_length_and_has_no_body() {
        let answer = Answer::of(Status::MethodNotAllowed);
        let text = String::from_utf8(answer.encode(true, false)).expect("text");
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 23\r\n") && text.contains("\r\nAllow: GET, HEAD\r\n"), "{text}");
        let whole = answer.encode(false, true);
        assert!(whole.ends_with(b"\r\n\r\n405 Method Not Allowed\n"));
    }

    proptest! {
        /// However the bytes come in, the answer is that of all at once, and it never needs more than the bound.
        #[test]
        fn pieces_make_the_same_as_the_whole(
            mut bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "(GET|HEAD|PUT|G) ?/?[a-z?]{0,9} HTTP/1.[019]\r\n(Host: [a-z:\\[\\]]{0,9}\r\n|[A-Za-z-]{1,9}: ?[ -~]{0,9}\r\n){0,4}\r?\n?"
                    .prop_map(String::into_bytes),
            ],
            flip in any::<Option<(proptest::sample::Index, u8)>>(),
        ) {
            if let Some((at, byte)) = flip && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = parse(&bytes);
            if let Parsed::Request(_, length) = &whole {
                prop_assert!(*length <= bytes.len());
                prop_assert_eq!(&parse(&bytes[..*length]), &whole);
            }
            for end in 0..bytes.len() {
                match parse(&bytes[..end]) {
                    Parsed::Partial => {}
                    early => {
                        prop_assert_eq!(&early, &whole, "at {}", end);
                        break;
                    }
                }
            }
            let endless: Vec<u8> = bytes.iter().copied().cycle().take(HEAD_BYTES_MAX * usize::from(!bytes.is_empty())).collect();
            prop_assert!(bytes.is_empty() || parse(&endless) != Parsed::Partial);
        }
    }
}
