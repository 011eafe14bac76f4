//! An aggregator that serves TLS under an authority of its own, and those who have a token of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use celeriac_proto::v1::ListAppsRequest;
use celeriac_proto::v1::inspection_service_client::InspectionServiceClient;
use celeriac_tests::paths::{self, Profile};
use celeriac_tests::process::Process;
use celeriac_tests::redis::free_address;
use celeriac_tests::{Authority, eventually};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

/// How long a debug build may take to start or to answer on two busy cores.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The aggregator looks at its files every 10 s.
pub(crate) const REREAD_WITHIN: Duration = Duration::from_secs(30);

/// A running aggregator.
pub(crate) struct Bed {
    pub(crate) authority: Authority,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) data: TempDir,
}

impl Bed {
    /// One that serves TLS on loopback, with these arguments more.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let authority = Authority::new("celeriac tests");
        authority.sign("server", "127.0.0.1");
        Self::under(authority, arguments).await
    }

    /// One that serves with the authority's `server.crt` and `server.key`.
    pub(crate) async fn under(authority: Authority, arguments: &[&str]) -> Self {
        Self::within(authority, &[], arguments).await
    }

    /// The same, with these variables in its environment.
    pub(crate) async fn within(
        authority: Authority,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let data = TempDir::new().expect("the temporary folder is writable");
        let address = free_address();
        let program = paths::binary(Profile::Debug, "celeriac-aggregator");
        let process = Process::start("celeriac-aggregator", program, |command| {
            command
                .envs(environment.iter().copied())
                .args(["--listen", &address.to_string(), "--data-dir"])
                .arg(data.path())
                .args(["--tls-cert", &authority.file("server.crt")])
                .args(["--tls-key", &authority.file("server.key")])
                .args(arguments);
        });
        let mut bed = Self {
            authority,
            process,
            address,
            data,
        };
        bed.serves().await;
        bed
    }

    /// Waits until it answers over TLS, whatever it says.
    async fn serves(&mut self) {
        eventually("the aggregator serves", SOON, async || {
            if let Some(status) = self.process.exited() {
                panic!("it ended with {status}:\n{}", self.process.log());
            }
            let channel = self.channel().await.map_err(|error| format!("{error:?}"))?;
            match list_apps(channel).await {
                Ok(()) | Err(Code::Unauthenticated) => Ok(()),
                Err(code) => Err(code.to_string()),
            }
        })
        .await;
    }

    /// A connection with this token.
    pub(crate) async fn with(&self, token: Option<&str>) -> Known {
        let value = token.map(|token| {
            let value = format!("Bearer {token}").parse();
            value.expect("a token may stand in a header")
        });
        let channel = self.channel().await.expect("it is trusted");
        InterceptedService::new(channel, Bearer(value))
    }

    /// A connection that trusts its authority.
    pub(crate) async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        connect(self.address, &self.authority).await
    }
}

/// A connection over TLS that trusts this authority and no other.
pub(crate) async fn connect(
    address: SocketAddr,
    authority: &Authority,
) -> Result<Channel, tonic::transport::Error> {
    let ca = Certificate::from_pem(authority.certificate());
    Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(ClientTlsConfig::new().ca_certificate(ca))?
        .connect_timeout(SOON)
        .connect()
        .await
}

/// Whether apps can be listed.
pub(crate) async fn list_apps(channel: Channel) -> Result<(), Code> {
    let answer = InspectionServiceClient::new(channel)
        .list_apps(ListAppsRequest::default())
        .await;
    answer.map(drop).map_err(|status| status.code())
}

/// A connection, and a token that goes with each call.
pub(crate) type Known = InterceptedService<Channel, Bearer>;

/// Puts a token into each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// An aggregator with `--auth tokens`: everybody here has one of these tokens, made by its own command.
pub(crate) struct TokenBed {
    pub(crate) bed: Bed,
    file: String,
    tokens: BTreeMap<&'static str, NewToken>,
}

/// A token and its line in the file.
struct NewToken {
    token: String,
    line: String,
}

/// Who there is: a name, and the options by which the token is made.
pub(crate) const PEOPLE: [(&str, &[&str]); 9] = [
    ("viewer", &["--role", "viewer", "--app", "shop"]),
    ("reader", &["--role", "reader", "--app", "shop"]),
    ("tuner", &["--role", "tuner", "--app", "shop"]),
    ("operator", &["--role", "operator", "--app", "shop"]),
    ("inspector", &["--role", "inspector", "--app", "shop"]),
    ("metrics", &["--role", "metrics"]),
    ("bank-viewer", &["--role", "viewer", "--app", "bank"]),
    ("bank-inspector", &["--role", "inspector", "--app", "bank"]),
    ("overseer", &["--role", "viewer"]),
];

impl TokenBed {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let authority = Authority::new("celeriac tests");
        authority.sign("server", "127.0.0.1");
        let tokens: BTreeMap<_, _> = PEOPLE
            .iter()
            .map(|(name, options)| (*name, make_token(name, options)))
            .collect();
        let file = authority.file("tokens");
        write_tokens(&file, tokens.values());
        let mut all = vec!["--auth", "tokens", "--tokens-file", &file];
        all.extend(arguments);
        let bed = Bed::under(authority, &all).await;
        Self { bed, file, tokens }
    }

    /// The token of one of [`PEOPLE`].
    pub(crate) fn token(&self, name: &str) -> &str {
        &self.tokens[name].token
    }

    /// All tokens.
    pub(crate) fn all_tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.values().map(|new| new.token.as_str())
    }

    /// Takes one of [`PEOPLE`] out of the file.
    pub(crate) fn remove(&self, name: &str) {
        let rest = self.tokens.iter().filter(|(other, _)| **other != name);
        write_tokens(&self.file, rest.map(|(_, new)| new));
    }

    /// A connection of one of [`PEOPLE`]; without a token when the name is none of theirs.
    pub(crate) async fn of(&self, name: &str) -> Known {
        let token = self.tokens.get(name).map(|new| new.token.as_str());
        self.with(token).await
    }

    /// A connection with this token.
    pub(crate) async fn with(&self, token: Option<&str>) -> Known {
        self.bed.with(token).await
    }
}

fn make_token(name: &str, options: &[&str]) -> NewToken {
    let output = Command::new(paths::binary(Profile::Debug, "celeriac-aggregator"))
        .args(["token", name])
        .args(options)
        .output()
        .expect("a built binary starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let mut lines = text.lines().map(str::to_owned);
    let (token, line) = (lines.next(), lines.next());
    NewToken {
        token: token.expect("the first line is the token"),
        line: line.expect("the second is its line"),
    }
}

fn write_tokens<'a>(file: &str, tokens: impl Iterator<Item = &'a NewToken>) {
    let lines: Vec<&str> = tokens.map(|new| new.line.as_str()).collect();
    std::fs::write(file, lines.join("\n")).expect("the folder is writable");
}

/// Status and body of a page over TLS, with the headers of both.
pub(crate) fn page(bed: &Bed, path: &str, options: &[&str]) -> String {
    let url = format!("https://{}{path}", bed.address);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include"])
        .args(["--cacert", &bed.authority.file("ca.crt"), &url])
        .args(options)
        .output()
        .expect("curl is installed: `apt-get install curl`");
    let text = [output.stderr, output.stdout].concat();
    String::from_utf8_lossy(&text).into_owned()
}
