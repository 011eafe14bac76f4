//! The commands: each asks the aggregator and prints, and knows what to say when there is nothing to print.

mod apps;
mod control;
mod gaps;
mod names;
mod queues;
mod tasks;
mod watch;
mod workers;
mod workflow;

use celeriac_client::{Address, Client, Error, Pages, v1};
use clap::CommandFactory as _;

use crate::args::Args;
use crate::config::{Action, Config, Trust};
use crate::output::{Failure, Output};

/// What a command works with.
struct Session {
    client: Client,
    output: Output,
    /// Empty is all apps.
    app: String,
}

/// Does what the command line asks for.
///
/// # Errors
///
/// When the aggregator cannot be asked or refuses, and when standard output cannot be written to.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    let output = Output::new(&config);
    if let Action::Completions(shell) = config.action {
        return completions(shell, output);
    }
    let mut session = Session {
        client: connect(config.server, config.trust)?,
        output,
        app: config.app,
    };
    match config.action {
        Action::Apps => apps::list(&mut session).await,
        Action::Workers(request) => workers::list(&mut session, request).await,
        Action::Worker(request) => workers::show(&mut session, request).await,
        Action::Queues(request) => queues::list(&mut session, request).await,
        Action::Tasks(request, limit) => tasks::list(&mut session, request, limit).await,
        Action::Task(request) => tasks::show(&mut session, request).await,
        Action::Workflow(request, limit) => workflow::show(&mut session, request, limit).await,
        Action::TaskNames(request) => names::list(&mut session, request).await,
        Action::Gaps(request, limit) => gaps::list(&mut session, request, limit).await,
        Action::Watch(request) => watch::follow(&mut session, request).await,
        Action::Top => crate::top::run(session.client, session.app, &session.output.view()).await,
        Action::Send(sending) => control::send(&mut session, *sending).await,
        Action::Commands(request, limit) => control::list(&mut session, request, limit).await,
        Action::Record(request) => control::show(&mut session, request).await,
        Action::Completions(_) => Ok(()),
    }
}

/// The environment variable that may hold the token.
const TOKEN: &str = "CELERIAC_TOKEN";

/// A client that trusts and tells what the command line says. A token file comes before a token.
fn connect(server: Address, trust: Trust) -> Result<Client, Failure> {
    let Trust {
        ca,
        server_name,
        token_file,
    } = trust;
    let mut builder = Client::builder(server);
    if let Some(path) = ca {
        let pem = std::fs::read(&path).map_err(|source| Failure::Ca { path, source })?;
        builder = builder.ca_pem(pem);
    }
    if let Some(name) = server_name {
        builder = builder.server_name(name);
    }
    builder = match (token_file, std::env::var(TOKEN)) {
        (Some(path), _) => builder.token_file(path),
        (None, Ok(token)) if !token.trim().is_empty() => builder.token(&token)?,
        (None, _) => builder,
    };
    Ok(builder.build()?)
}

fn completions(shell: clap_complete::Shell, mut output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "celeriac", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}

impl Session {
    /// All pages of a list, merged.
    async fn all<L: celeriac_client::List>(&self, request: L) -> Result<L::Page, Error>
    where
        L::Page: Default,
    {
        let pages: Pages<L> = self.client.pages(request, None);
        pages.merged().await
    }

    /// The apps a list is about: the one named, or all.
    async fn apps(&self) -> Result<Vec<v1::App>, Error> {
        if self.app.is_empty() {
            return Ok(self.all(v1::ListAppsRequest::default()).await?.apps);
        }
        let response = self
            .client
            .get_app(v1::GetAppRequest {
                app: self.app.clone(),
            })
            .await?;
        Ok(response.app.into_iter().collect())
    }

    /// That a response lacks what it must hold.
    fn lacking(&self, what: &'static str) -> Error {
        Error::Contract {
            address: self.client.address().clone(),
            reason: what,
        }
    }
}

/// Whether things are of more than one app.
fn several_apps<'a>(apps: impl IntoIterator<Item = &'a str>) -> bool {
    let mut apps = apps.into_iter();
    apps.next()
        .is_some_and(|first| apps.any(|app| app != first))
}
