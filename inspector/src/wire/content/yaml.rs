//! YAML, as `yaml.safe_dump` writes it and `yaml.safe_load` reads it for kombu (`register_yaml` in `kombu/serialization.py`),
//! to JSON. Plain scalars are those of YAML 1.1 (`yaml/resolver.py`).

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::Broken;
use super::text::JsonText;

/// Rewrites a body as JSON. Aliases are written out, dates stay text.
pub(super) fn to_json(body: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let body = std::str::from_utf8(body).map_err(|_| Broken)?;
    let mut text = JsonText::new(out);
    let mut documents = 0;
    for event in Parser::new_from_str(body) {
        let (event, _) = event.map_err(|_| Broken)?;
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(Broken);
                }
            }
            Event::Alias(name) => text.repeat(name)?,
            Event::Scalar(value, style, name, tag) => {
                text.name(name);
                scalar(&value, style, tag.as_deref(), &mut text)?;
            }
            Event::SequenceStart(_, name, _) => {
                text.name(name);
                text.begin(false)?;
            }
            Event::MappingStart(_, name, _) => {
                text.name(name);
                text.begin(true)?;
            }
            Event::SequenceEnd | Event::MappingEnd => text.end()?,
            // Begin and end of the stream, comments.
            _ => {}
        }
    }
    if text.is_done() { Ok(()) } else { Err(Broken) }
}

fn scalar(
    value: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    text: &mut JsonText<'_>,
) -> Result<(), Broken> {
    let resolved = match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => matches!(tag.core_suffix(), Some("int" | "float" | "bool" | "null")),
    };
    if !resolved {
        return text.string(value);
    }
    match plain(value) {
        Plain::Word(word) => text.bare(word),
        Plain::Integer(digits) => text.bare(&digits),
        Plain::Float(number) => text.float(number),
        Plain::Text => text.string(value),
    }
}

/// What a plain scalar stands for.
enum Plain {
    Word(&'static str),
    /// In decimal digits, of any length.
    Integer(String),
    Float(f64),
    Text,
}

fn plain(value: &str) -> Plain {
    match value {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Word("null"),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Plain::Word("true");
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Plain::Word("false");
        }
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    let (sign, digits) = match value.as_bytes() {
        [b'-', ..] => ("-", &value[1..]),
        [b'+', ..] => ("", &value[1..]),
        _ => ("", value),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Plain::Float(f64::INFINITY);
    }
    let signed = |digits: String| Plain::Integer(format!("{sign}{digits}"));
    if let Some(digits) = integer(digits) {
        return signed(digits);
    }
    // A fraction without anything before its point has no sign.
    let has_sign = digits.len() < value.len();
    match float(digits, has_sign) {
        Some(number) => Plain::Float(if sign.is_empty() { number } else { -number }),
        None => Plain::Text,
    }
}

/// A whole number without its sign, in decimal digits.
fn integer(text: &str) -> Option<String> {
    let based = |digits: &str, base: u32| {
        let digits: String = digits.chars().filter(|digit| *digit != '_').collect();
        let number = u128::from_str_radix(&digits, base).ok()?;
        Some(number.to_string())
    };
    let all = |text: &str, allowed: fn(u8) -> bool| {
        !text.is_empty() && text.bytes().all(|byte| byte == b'_' || allowed(byte))
    };
    if let Some(digits) = text.strip_prefix("0b") {
        return all(digits, |digit| matches!(digit, b'0' | b'1')).then(|| based(digits, 2))?;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, |digit| digit.is_ascii_hexdigit()).then(|| based(digits, 16))?;
    }
    match text.as_bytes() {
        [b'0'] => Some("0".to_owned()),
        [b'0', ..] => {
            let digits = &text[1..];
            all(digits, |digit| (b'0'..=b'7').contains(&digit)).then(|| based(digits, 8))?
        }
        [b'1'..=b'9', ..] if all(text, |digit| digit.is_ascii_digit()) => {
            Some(text.replace('_', ""))
        }
        [b'1'..=b'9', ..] if text.contains(':') && !text.contains('.') => {
            let sum = sexagesimal(text)?;
            Some(format!("{sum:.0}"))
        }
        _ => None,
    }
}

/// A fraction without its sign.
fn float(text: &str, has_sign: bool) -> Option<f64> {
    let (whole, fraction) = text.split_once('.')?;
    if whole.contains(':') {
        let fraction_is_plain = fraction
            .bytes()
            .all(|digit| digit == b'_' || digit.is_ascii_digit());
        return fraction_is_plain.then(|| sexagesimal(text))?;
    }
    let (digits, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (&fraction[..at], Some(&fraction[at + 1..])),
        None => (fraction, None),
    };
    // The sign of the exponent is not optional.
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']);
        digits.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
        })
    });
    let numeric = |text: &str| {
        text.bytes()
            .all(|digit| digit == b'_' || digit.is_ascii_digit())
    };
    let begins = |text: &str| text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let fits = exponent_fits
        && numeric(whole)
        && numeric(digits)
        && if whole.is_empty() {
            !has_sign && begins(digits)
        } else {
            begins(whole)
        };
    fits.then(|| text.replace('_', "").parse().ok())?
}

/// Numbers to the base of sixty, such as `1:30:00`.
fn sexagesimal(text: &str) -> Option<f64> {
    let numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    let mut sum = 0.0;
    for (place, part) in text.split(':').enumerate() {
        let whole = part.split('.').next().unwrap_or_default();
        let fits = match whole.as_bytes() {
            [digit, ..] if place == 0 => digit.is_ascii_digit(),
            [digit] => digit.is_ascii_digit(),
            [tens, digit] => matches!(tens, b'0'..=b'5') && digit.is_ascii_digit(),
            _ => false,
        };
        if !fits || !part.bytes().all(numeric) {
            return None;
        }
        let number: f64 = part.replace('_', "").parse().ok()?;
        sum = number + 60.0 * sum;
    }
    Some(sum)
}
