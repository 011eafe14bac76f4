//! The mode `tokens`: a file says who bears which token, and what they may do. It holds no token, only their digests; it is
//! read again when it changes, and a token that has gone from it ends the streams that were opened with it.
//!
//! One token a line, `#` begins a comment:
//!
//! ```text
//! NAME     SHA-256 OF THE TOKEN, HEX    ROLE[,ROLE…]=APP[,APP…]  …
//! grafana  9f86d081884c7d659a2feaa0…    viewer=* metrics=*
//! alice    2c26b46b68ffc68ff99b453c…    reader=shop,mail operator=shop
//! ```
//!
//! A name may stand on several lines, so that a token can be replaced before the old one is taken away.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::{Apps, Right, Role};
use crate::reread::{self, Digest};

/// Largest file: room for more than 10,000 lines.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Longest name of a bearer, as of a Kubernetes user's with room: it goes into records and logs.
const NAME_MAX: usize = 253;
/// Random bytes of a token: nobody tries 2^256 of them, so their digests need no salt and no slow hash.
const TOKEN_BYTES: usize = 32;
/// What tokens begin with, so that scanners for secrets know one when they see it.
const PREFIX: &str = "celeriac_";

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("--tokens-file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of it cannot be read. What is on the line is not repeated: it may be a token.
    #[error("--tokens-file {}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Too few words.
    #[error(
        "a line has a name, a digest, and ROLE=APPS at least once; `celeriac-aggregator token` writes one"
    )]
    Words,
    /// The name is none.
    #[error("the name must have 1 to {NAME_MAX} visible ASCII characters")]
    Name,
    /// The digest is none.
    #[error(
        "the second word must be the SHA-256 of the token, 64 hex digits; `celeriac-aggregator token` makes both"
    )]
    Digest,
    /// A token that another line has.
    #[error("another line has the same token")]
    Twice,
    /// A grant is none.
    #[error("after the digest come ROLE[,ROLE…]=APP[,APP…], with * for all apps")]
    Grant,
    /// A role is none.
    #[error("a role is viewer, reader, tuner, operator, inspector or metrics")]
    Role,
    /// Metrics of one app.
    #[error("/metrics are of all apps: write metrics=*")]
    Metrics,
}

/// What the file says of one token.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: Box<str>,
    digest: Digest,
    grants: Vec<(Role, Apps)>,
}

/// The file's content.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table(Vec<Arc<Entry>>);

/// The tokens in use. Clones are the same.
#[derive(Clone)]
pub struct Tokens(Arc<RwLock<Table>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.read().0.len())
    }
}

/// Who bears a token.
#[derive(Debug, Clone)]
pub struct Bearer {
    entry: Arc<Entry>,
    tokens: Tokens,
}

impl Bearer {
    /// Their name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The apps on which they have a right.
    pub fn apps(&self, right: Right) -> Apps {
        let mut found = BTreeSet::new();
        for (role, apps) in &self.entry.grants {
            match apps {
                _ if !role.rights().contains(&right) => {}
                Apps::All => return Apps::All,
                Apps::Only(names) => found.extend(names.iter().cloned()),
            }
        }
        Apps::Only(found)
    }

    /// The same bearer by what the file says now.
    pub fn again(&self) -> Option<Self> {
        self.tokens.find(&self.entry.digest)
    }
}

impl Tokens {
    /// Reads the file; the second value follows what becomes of it, and is to be run.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(
        path: PathBuf,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), TokensError> {
        let (digest, table) = read(&path)?;
        if table.0.is_empty() {
            tracing::warn!(path = %path.display(), "the token file holds no token: nobody can come in");
        }
        let tokens = Self(Arc::new(RwLock::new(table)));
        let held = tokens.clone();
        let follow = reread::follow(
            "the token file",
            digest,
            move || read(&path),
            move |table| *held.0.write() = table,
            stop,
        );
        Ok((tokens, follow))
    }

    /// Who bears this token.
    pub fn bearer(&self, token: &str) -> Option<Bearer> {
        self.find(&hash(token))
    }

    fn find(&self, digest: &Digest) -> Option<Bearer> {
        let mut found = None;
        // To the end whatever is found, so that time tells nothing of the file.
        for entry in &self.0.read().0 {
            if same(&entry.digest, digest) {
                found = Some(Arc::clone(entry));
            }
        }
        found.map(|entry| Bearer {
            entry,
            tokens: self.clone(),
        })
    }
}

/// Compares in a time that does not depend on the content.
fn same(a: &Digest, b: &Digest) -> bool {
    let different = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(different) == 0
}

fn hash(token: &str) -> Digest {
    let mut digest = Digest::default();
    let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.copy_from_slice(hash.as_ref());
    digest
}

fn read(path: &Path) -> Result<(Digest, Table), TokensError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| TokensError::Read {
            path: path.to_owned(),
            source,
        })?;
    let table = parse(&text).map_err(|(line, problem)| TokensError::Line {
        path: path.to_owned(),
        line,
        problem,
    })?;
    Ok((reread::digest(&[text.as_bytes()]), table))
}

fn parse(text: &str) -> Result<Table, (usize, LineProblem)> {
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else {
            continue;
        };
        let refuse = |problem| (index + 1, problem);
        let entry = entry(name, words).map_err(refuse)?;
        if !seen.insert(entry.digest) {
            return Err(refuse(LineProblem::Twice));
        }
        entries.push(Arc::new(entry));
    }
    Ok(Table(entries))
}

fn entry<'a>(name: &str, mut words: impl Iterator<Item = &'a str>) -> Result<Entry, LineProblem> {
    check_name(name)?;
    let digest = unhex(words.next().ok_or(LineProblem::Words)?).ok_or(LineProblem::Digest)?;
    let mut grants = Vec::new();
    for word in words {
        let (roles, apps) = word.split_once('=').ok_or(LineProblem::Grant)?;
        let apps = match apps {
            "*" => Apps::All,
            names if names.split(',').any(|name| name.is_empty() || name == "*") => {
                return Err(LineProblem::Grant);
            }
            names => Apps::Only(names.split(',').map(str::to_owned).collect()),
        };
        for role in roles.split(',') {
            let role = Role::named(role).ok_or(LineProblem::Role)?;
            if role == Role::Metrics && apps != Apps::All {
                return Err(LineProblem::Metrics);
            }
            grants.push((role, apps.clone()));
        }
    }
    if grants.is_empty() {
        return Err(LineProblem::Words);
    }
    Ok(Entry {
        name: name.into(),
        digest,
        grants,
    })
}

fn check_name(name: &str) -> Result<(), LineProblem> {
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > NAME_MAX || !visible || name.contains('#') {
        return Err(LineProblem::Name);
    }
    Ok(())
}

fn unhex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() || !text.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// A new token, and the line for the file that goes with it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The token; shown once, kept nowhere.
    pub token: String,
    /// The line.
    pub line: String,
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewTokenError {
    /// The line would not be readable.
    #[error(transparent)]
    Line(#[from] LineProblem),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Makes a token with these roles on these apps; no app is all of them.
///
/// # Errors
/// A name or an app cannot stand in the file.
pub fn new_token(name: &str, roles: &[Role], apps: &[String]) -> Result<NewToken, NewTokenError> {
    use ring::rand::SecureRandom as _;
    check_name(name)?;
    let mut bytes = [0; TOKEN_BYTES];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| NewTokenError::Random)?;
    let token = format!("{PREFIX}{}", hex(&bytes));
    let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let apps = match apps {
        [] => "*".to_owned(),
        names => names.join(","),
    };
    let line = format!("{name} {} {}={apps}", hex(&hash(&token)), roles.join(","));
    // What is written has to be readable: a name of an app may hold anything.
    parse(&line).map_err(|(_, problem)| problem)?;
    Ok(NewToken { token, line })
}

#[cfg(test)]
mod tests;
