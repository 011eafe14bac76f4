//! What the command line means. Nothing past it sees the address as text.

pub(crate) mod control;

use std::num::NonZeroU64;
use std::path::PathBuf;

use anstream::ColorChoice;
use celeriac_client::{Address, AddressError, v1};

use crate::args::{Args, Command, Format, Kind, TaskView, TasksArgs, Times, WatchArgs, When};

/// What to do and how to show it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) server: Address,
    pub(crate) trust: Trust,
    /// Empty is all apps in lists, the only app in single reads.
    pub(crate) app: String,
    pub(crate) format: Format,
    pub(crate) color: ColorChoice,
    pub(crate) times: Times,
    pub(crate) action: Action,
}

/// How the aggregator is known, and how it knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

/// A command with its requests, all but the app, which is in each request already.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Apps,
    Workers(v1::ListWorkersRequest),
    Worker(v1::GetWorkerRequest),
    Queues(v1::ListQueuesRequest),
    /// With the most tasks to show; `None` is all.
    Tasks(v1::ListTasksRequest, Option<NonZeroU64>),
    Task(v1::GetTaskRequest),
    /// Of that task, with the most tasks to show.
    Workflow(v1::GetTaskRequest, NonZeroU64),
    TaskNames(v1::ListTaskNamesRequest),
    /// With the most gaps to show.
    Gaps(v1::ListGapsRequest, NonZeroU64),
    Watch(v1::WatchRequest),
    Top,
    Send(Box<control::Sending>),
    /// With the most records to show.
    Commands(v1::ListCommandsRequest, NonZeroU64),
    Record(v1::GetCommandRequest),
    Completions(clap_complete::Shell),
}

/// Why the command line cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The server's address cannot be read.
    #[error("--server (or CELERIAC_SERVER)")]
    Server(#[from] AddressError),
    /// The command to workers cannot be sent as it is given.
    #[error(transparent)]
    Command(#[from] control::CommandError),
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let global = args.global;
        Ok(Self {
            server: global.server.parse()?,
            trust: Trust {
                ca: global.ca,
                server_name: global.server_name,
                token_file: global.token_file,
            },
            action: action(args.command, &global.app, global.output)?,
            app: global.app,
            format: global.output,
            color: match global.color {
                When::Auto => ColorChoice::Auto,
                When::Always => ColorChoice::Always,
                When::Never => ColorChoice::Never,
            },
            times: global.time,
        })
    }
}

fn action(command: Command, app: &str, format: Format) -> Result<Action, ConfigError> {
    let app = app.to_owned();
    Ok(match command {
        Command::Apps => Action::Apps,
        Command::Workers { filter } => Action::Workers(v1::ListWorkersRequest {
            app,
            filter,
            ..Default::default()
        }),
        Command::Worker { name } => Action::Worker(v1::GetWorkerRequest { app, name }),
        Command::Queues => Action::Queues(v1::ListQueuesRequest {
            app,
            ..Default::default()
        }),
        Command::Tasks(tasks) => list_tasks(tasks, app, format),
        Command::Task { id } => Action::Task(v1::GetTaskRequest {
            app,
            id,
            view: v1::TaskView::Full.into(),
        }),
        Command::Workflow { id, limit } => {
            let request = v1::GetTaskRequest {
                app,
                id,
                view: v1::TaskView::Basic.into(),
            };
            Action::Workflow(request, NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN))
        }
        Command::TaskNames => Action::TaskNames(v1::ListTaskNamesRequest {
            app,
            ..Default::default()
        }),
        Command::Gaps { worker, limit } => {
            let request = v1::ListGapsRequest {
                app,
                worker,
                ..Default::default()
            };
            Action::Gaps(request, NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN))
        }
        Command::Watch(watch) => Action::Watch(watch_request(watch, app)),
        Command::Top => Action::Top,
        Command::Control(args) => Action::Send(Box::new(control::control(args, app)?)),
        Command::Inspect(args) => Action::Send(Box::new(control::inspect(args, app)?)),
        Command::Commands { limit } => {
            let request = v1::ListCommandsRequest {
                app,
                ..Default::default()
            };
            Action::Commands(request, NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN))
        }
        Command::Record { request_id } => Action::Record(v1::GetCommandRequest { app, request_id }),
        Command::Completions { shell } => Action::Completions(shell),
    })
}

fn list_tasks(tasks: TasksArgs, app: String, format: Format) -> Action {
    let view = if format == Format::Wide {
        TaskView::Full
    } else {
        tasks.view
    };
    let limit = if tasks.all {
        None
    } else {
        NonZeroU64::new(tasks.limit)
    };
    let request = v1::ListTasksRequest {
        app,
        filter: tasks.filter,
        search: tasks.search,
        order_by: tasks.order_by,
        view: task_view(view).into(),
        ..Default::default()
    };
    Action::Tasks(request, limit)
}

fn watch_request(watch: WatchArgs, app: String) -> v1::WatchRequest {
    let kinds = if watch.kinds.is_empty() {
        // Statistics of names change with every task: they are shown when asked for.
        vec![Kind::Apps, Kind::Workers, Kind::Queues, Kind::Tasks]
    } else {
        watch.kinds
    };
    let kind = |kind| -> i32 {
        match kind {
            Kind::Apps => v1::WatchKind::App,
            Kind::Workers => v1::WatchKind::Worker,
            Kind::Queues => v1::WatchKind::Queue,
            Kind::Tasks => v1::WatchKind::Task,
            Kind::TaskNames => v1::WatchKind::TaskName,
        }
        .into()
    };
    v1::WatchRequest {
        app,
        kinds: kinds.into_iter().map(kind).collect(),
        task_filter: watch.filter,
        task_view: task_view(watch.view).into(),
        resume_token: String::new(),
        skip_task_snapshot: !watch.snapshot,
        worker: String::new(),
    }
}

fn task_view(view: TaskView) -> v1::TaskView {
    match view {
        TaskView::Basic => v1::TaskView::Basic,
        TaskView::Full => v1::TaskView::Full,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn config(line: &str) -> Config {
        let args = Args::try_parse_from(line.split_whitespace()).expect(line);
        Config::try_from(args).expect(line)
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn tasks_are_limited_unless_all_are_asked_for() {
        let Action::Tasks(request, limit) = config("celeriac tasks --app shop").action else {
            panic!("not tasks")
        };
        assert_eq!((request.app.as_str(), limit), ("shop", NonZeroU64::new(50)));
        assert_eq!(request.view(), v1::TaskView::Basic);
        let Action::Tasks(request, limit) = config("celeriac tasks --all -o wide").action else {
            panic!("not tasks")
        };
        assert_eq!((request.view(), limit), (v1::TaskView::Full, None));
        for line in [
            "celeriac tasks --all --limit 3",
            "celeriac tasks --limit 0",
            "celeriac",
        ] {
            let error = Args::try_parse_from(line.split_whitespace()).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn watch_leaves_task_names_out_unless_named() {
        let Action::Watch(request) = config("celeriac watch").action else {
            panic!("not watch")
        };
        let kinds: Vec<_> = request.kinds().collect();
        assert!(
            !kinds.contains(&v1::WatchKind::TaskName) && kinds.len() == 4,
            "{kinds:?}"
        );
        assert!(request.skip_task_snapshot);
        let line = "celeriac watch task-names workers --snapshot";
        let Action::Watch(request) = config(line).action else {
            panic!("not watch")
        };
        let kinds: Vec<_> = request.kinds().collect();
        assert_eq!(kinds, [v1::WatchKind::TaskName, v1::WatchKind::Worker]);
        assert!(!request.skip_task_snapshot);
    }

    #[test]
    fn a_wrong_server_is_named_and_its_password_is_not() {
        let line = ["celeriac", "apps", "--server", "http://me:hunter2@host"];
        let args = Args::try_parse_from(line).expect("it is spelled well");
        let error = Config::try_from(args).expect_err("it holds a password");
        assert_eq!(error, ConfigError::Server(AddressError::Credentials));
    }
}
