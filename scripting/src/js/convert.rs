//! Values of JavaScript and replies; the table is in [`super`].

use crate::reply::{Reader, Reply, Token, one_line};
use rquickjs::convert::Coerced;
use rquickjs::{Array, BigInt, Ctx, Error, Exception, FromJs, Function, IntoJs, Object, TypedArray, Value};

/// Replies and values within each other.
const NESTING_MAX: usize = 500;

/// Whole numbers below it are exact as numbers.
const EXACT_MAX: i64 = 1 << 53;

/// A string, or the bytes if they are no text.
pub(super) fn text_or_bytes<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into_js(ctx),
        Err(_) => TypedArray::<u8>::new_copy(ctx.clone(), bytes)?.into_js(ctx),
    }
}

/// The text that a value is or would be shown as.
pub(super) fn text_of(value: &Value<'_>) -> Result<String, Error> {
    Coerced::<String>::from_js(value.ctx(), value.clone()).map(|text| text.0)
}

/// An error that shows its line as it is.
pub(super) fn reply_error(ctx: &Ctx<'_>, line: &str) -> Error {
    let error = Exception::from_message(ctx.clone(), line)
        .and_then(|error| error.as_object().set("name", "ReplyError").map(|()| error));
    match error {
        Ok(error) => error.throw(),
        Err(error) => error,
    }
}

/// An argument of a command.
pub(super) fn to_argument(ctx: &Ctx<'_>, value: &Value<'_>) -> Result<Vec<u8>, Error> {
    if value.is_string() || value.is_number() || value.is_big_int() {
        return text_of(value).map(String::into_bytes);
    }
    if let Some(bytes) = value.as_object().and_then(|object| object.as_typed_array::<u8>())
        && let Some(bytes) = bytes.as_bytes()
    {
        return Ok(bytes.to_vec());
    }
    Err(reply_error(ctx, "ERR Command arguments must be strings, numbers or Uint8Arrays"))
}

/// The value of an encoded reply; an error is thrown.
pub(super) fn from_reply<'js>(ctx: &Ctx<'js>, reply: &[u8]) -> Result<Value<'js>, Error> {
    let mut reader = Reader::new(reply);
    let first = reader.next();
    if let Some(Token::Error(line)) = first {
        return Err(reply_error(ctx, &String::from_utf8_lossy(line)));
    }
    value_of(ctx, &mut reader, first, 0)
}

fn value_of<'js>(
    ctx: &Ctx<'js>,
    reader: &mut Reader<'_>,
    token: Option<Token<'_>>,
    depth: usize,
) -> Result<Value<'js>, Error> {
    if depth > NESTING_MAX {
        return Ok(Value::new_null(ctx.clone()));
    }
    match token {
        Some(Token::Integer(integer)) if integer.abs() < EXACT_MAX => {
            Ok(Value::new_number(ctx.clone(), integer as f64))
        }
        Some(Token::Integer(integer)) => BigInt::from_i64(ctx.clone(), integer)?.into_js(ctx),
        Some(Token::Bulk(text) | Token::Status(text) | Token::Verbatim { text, .. }) => text_or_bytes(ctx, text),
        Some(Token::Error(line)) => {
            let error = Exception::from_message(ctx.clone(), &String::from_utf8_lossy(line))?;
            error.as_object().set("name", "ReplyError")?;
            error.into_object().into_js(ctx)
        }
        Some(Token::Boolean(boolean)) => Ok(Value::new_bool(ctx.clone(), boolean)),
        Some(Token::Double(number)) => Ok(Value::new_float(ctx.clone(), number)),
        Some(Token::BigNumber(digits)) => {
            let big: Function = ctx.globals().get("BigInt")?;
            big.call((String::from_utf8_lossy(digits).into_owned(),))
        }
        Some(Token::Array(length) | Token::Set(length)) => {
            let array = Array::new(ctx.clone())?;
            for at in 0..length {
                let next = reader.next();
                array.set(at, value_of(ctx, reader, next, depth + 1)?)?;
            }
            array.into_js(ctx)
        }
        Some(Token::Map(length)) => {
            let object = Object::new(ctx.clone())?;
            for _ in 0..length {
                let next = reader.next();
                let key = text_of(&value_of(ctx, reader, next, depth + 1)?)?;
                let next = reader.next();
                object.set(key, value_of(ctx, reader, next, depth + 1)?)?;
            }
            object.into_js(ctx)
        }
        Some(Token::Nil | Token::Null) | None => Ok(Value::new_null(ctx.clone())),
    }
}

/// The reply that a returned value is.
pub(super) fn to_reply(ctx: &Ctx<'_>, value: &Value<'_>, bytes_max: usize) -> Result<Reply, Error> {
    let mut left = bytes_max;
    convert(ctx, value, 0, &mut left)
}

fn convert(ctx: &Ctx<'_>, value: &Value<'_>, depth: usize, left: &mut usize) -> Result<Reply, Error> {
    let mut take = |bytes: usize| {
        *left = left
            .checked_sub(bytes + size_of::<Reply>())
            .ok_or_else(|| Exception::throw_message(ctx, "the reply is too large"))?;
        Ok::<_, Error>(())
    };
    if depth > NESTING_MAX {
        return Err(Exception::throw_message(ctx, "the reply is nested too deeply"));
    }
    take(0)?;
    if value.is_null() || value.is_undefined() {
        return Ok(Reply::Null);
    }
    if let Some(boolean) = value.as_bool() {
        return Ok(Reply::Boolean(boolean));
    }
    if let Some(number) = value.as_number() {
        let is_whole = number.fract() == 0.0 && number.abs() <= 9.2e18;
        return Ok(if is_whole { Reply::Integer(number as i64) } else { Reply::Double(number) });
    }
    if value.is_string() {
        let text = text_of(value)?;
        take(text.len())?;
        return Ok(Reply::Bulk(text.into_bytes()));
    }
    if value.is_big_int() {
        let digits = text_of(value)?;
        return Ok(digits.parse().map_or_else(|_| Reply::BigNumber(digits.into_bytes()), Reply::Integer));
    }
    if value.is_function() || value.is_symbol() {
        let line = format!("a {} is no reply", value.type_name());
        return Err(Exception::throw_message(ctx, &line));
    }
    if let Some(array) = value.as_array() {
        let mut elements = Vec::new();
        for at in 0..array.len() {
            elements.push(convert(ctx, &array.get(at)?, depth + 1, left)?);
        }
        return Ok(Reply::Array(elements));
    }
    let Some(object) = value.as_object() else { return Ok(Reply::Null) };
    if let Some(bytes) = object.as_typed_array::<u8>().and_then(|array| array.as_bytes()) {
        take(bytes.len())?;
        return Ok(Reply::Bulk(bytes.to_vec()));
    }
    if value.is_error() {
        return Ok(Problem::of_error(object).reply_without_place());
    }
    let mut pairs = Vec::new();
    for property in object.props::<String, Value>() {
        let (name, property) = property?;
        pairs.push(Reply::Bulk(name.into_bytes()));
        pairs.push(convert(ctx, &property, depth + 1, left)?);
    }
    Ok(Reply::Map(pairs))
}

/// Something thrown.
pub(super) struct Problem {
    /// The line of the error, with its code.
    pub(super) line: Vec<u8>,
    /// The number of the line of code, if it is known.
    place: Option<String>,
    is_counted: bool,
    /// The code could not be read.
    pub(super) is_syntax: bool,
}

impl Problem {
    fn of_error(error: &Object<'_>) -> Self {
        let field = |name: &str| error.get::<_, Option<Coerced<String>>>(name).ok().flatten().map(|text| text.0);
        let name = field("name").unwrap_or_default();
        let message = field("message").unwrap_or_default();
        let is_reply = name == "ReplyError";
        let line = if is_reply { message } else { format!("ERR {message}") };
        Self {
            line: one_line(line.into_bytes()),
            place: field("stack").and_then(|stack| first_line_number(&stack)),
            is_counted: is_reply,
            is_syntax: name == "SyntaxError",
        }
    }

    /// The line and where it was.
    pub(super) fn with_place(self) -> Vec<u8> {
        let line = self.line.strip_prefix(b"ERR ").map(<[u8]>::to_vec).unwrap_or(self.line);
        match self.place {
            Some(place) => [b"user_function:", place.as_bytes(), b": ", &line[..]].concat(),
            None => line,
        }
    }

    /// The reply to a call of function `name` that ended so.
    pub(super) fn reply(self, name: &str) -> Reply {
        let mut line = self.line;
        line.extend_from_slice(format!(" script: {name}").as_bytes());
        if let Some(place) = self.place {
            line.extend_from_slice(format!(", on @user_function:{place}.").as_bytes());
        }
        Reply::Error { line: one_line(line), is_counted: self.is_counted }
    }

    fn reply_without_place(self) -> Reply {
        Reply::Error { line: self.line, is_counted: self.is_counted }
    }
}

/// The first place in a stack such as `    at f (eval_script:2:14)`.
fn first_line_number(stack: &str) -> Option<String> {
    let (_, rest) = stack.split_once("eval_script:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// What was thrown, or why the engine gave up.
pub(super) fn problem(ctx: &Ctx<'_>, error: Error, killed: Option<&str>) -> Problem {
    let plain = |line: String| Problem { line: line.into_bytes(), place: None, is_counted: false, is_syntax: false };
    let thrown = if error.is_exception() { ctx.catch() } else { Value::new_undefined(ctx.clone()) };
    if let Some(killed) = killed {
        return plain(format!("ERR {killed}"));
    }
    if !error.is_exception() {
        return plain(format!("ERR {error}"));
    }
    match thrown.as_object() {
        Some(object) if thrown.is_error() => Problem::of_error(object),
        // Without memory for an error, nothing is thrown.
        _ if thrown.is_null() => plain("ERR not enough memory".to_owned()),
        _ => plain(format!("ERR {}", text_of(&thrown).unwrap_or_else(|_| "not enough memory".to_owned()))),
    }
}
