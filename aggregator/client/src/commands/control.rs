//! `control`, `inspect`, `commands` and `command`.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::num::NonZeroU64;

use celeriac_client::{Error, v1};
use uuid::Uuid;

use super::{Session, several_apps};
use crate::config::control::Sending;
use crate::output::{Failure, Verdict};
use crate::render::command;
use crate::render::units::span;

const NONE: &str = "no commands: none has been sent through this aggregator yet";
/// Worker names that a question names before it only counts.
const NAMES_MAX: usize = 5;

/// Sends a command, after a question where it can do harm, and shows what became of it.
pub(super) async fn send(session: &mut Session, sending: Sending) -> Result<(), Failure> {
    let Sending { mut request, .. } = sending;
    if let Some(harm) = sending.harm.filter(|_| !sending.yes) {
        let whom = whom(session, &request).await;
        confirm(session, &format!("{harm} {whom}"))?;
    }
    if request.request_id.is_empty() {
        request.request_id = Uuid::new_v4().to_string();
    }
    if session.output.for_a_person() {
        if let Some(why) = sending.why_all {
            session.output.note(why);
        }
        if !request.validate_only {
            session
                .output
                .note(&format!("request id {}", request.request_id));
        }
    }
    let client = session.client.clone();
    let output = &mut session.output;
    let answer = client
        .execute_command(request.clone(), |error, delay| {
            let delay = span(delay.try_into().unwrap_or(jiff::SignedDuration::MAX));
            output.note(&format!(
                "{error}; asking again in {delay} with the same request id, so that it is sent once at most"
            ));
        })
        .await;
    let response = match answer {
        Ok(response) => response,
        Err(error @ (Error::Broken { .. } | Error::Deadline { .. })) => {
            return Err(Failure::Unanswered {
                request_id: request.request_id,
                error,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let record = response
        .record
        .as_ref()
        .ok_or_else(|| session.lacking("it holds no record"))?;
    session
        .output
        .response(&response, |view| command::outcome(record, view))?;
    verdict(record, sending.asks)
}

/// What the exit status says of it.
fn verdict(record: &v1::CommandRecord, asks: bool) -> Result<(), Failure> {
    let verdict = match record.outcome() {
        v1::CommandOutcome::Validated => return Ok(()),
        v1::CommandOutcome::Published => {
            let count = |kind| {
                let answers = record.answers.iter();
                answers.filter(|answer| answer.kind() == kind).count()
            };
            let errors = count(v1::AnswerKind::Error);
            let silent = count(v1::AnswerKind::NoAnswerYet);
            if errors > 0 {
                Verdict::Errors(errors)
            } else if asks && record.answers.is_empty() {
                Verdict::Nobody
            } else if asks && silent > 0 {
                Verdict::Silent(silent)
            } else {
                return Ok(());
            }
        }
        v1::CommandOutcome::NotPublished => Verdict::NotPublished,
        v1::CommandOutcome::Unknown | v1::CommandOutcome::Unspecified => Verdict::Unknown,
    };
    Err(Failure::Command(verdict))
}

/// Whom a command would reach, in words.
async fn whom(session: &Session, request: &v1::ExecuteCommandRequest) -> String {
    let online = if request.all_workers {
        let list = v1::ListWorkersRequest {
            app: request.app.clone(),
            filter: "status = ONLINE".to_owned(),
            ..Default::default()
        };
        // A question can be asked without the number.
        let Ok(response) = session.all(list).await else {
            return "all workers".to_owned();
        };
        response
            .workers
            .into_iter()
            .map(|worker| worker.name)
            .collect()
    } else {
        request.destination.clone()
    };
    let mut text = match (request.all_workers, online.len()) {
        (true, 1) => "all workers (1 is online: ".to_owned(),
        (true, count) => format!("all workers ({count} are online: "),
        (false, _) => String::new(),
    };
    if request.all_workers && online.is_empty() {
        return "all workers (none is known to be online)".to_owned();
    }
    text.push_str(&online[..online.len().min(NAMES_MAX)].join(", "));
    if online.len() > NAMES_MAX {
        let _ = write!(text, " and {} more", online.len() - NAMES_MAX);
    }
    if request.all_workers {
        text.push(')');
    }
    text
}

/// Asks on the terminal; refuses where there is nobody to ask.
fn confirm(session: &mut Session, what: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Unconfirmed(
            "this can do harm, and there is no terminal to ask on: add --yes if it is meant",
        ));
    }
    session.output.ask(&format!("{what}? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Unconfirmed("not confirmed; nothing was sent")),
    }
}

/// Lists recorded commands.
pub(super) async fn list(
    session: &mut Session,
    request: v1::ListCommandsRequest,
    limit: NonZeroU64,
) -> Result<(), Failure> {
    let pages = session.client.pages(request, Some(limit.get()));
    let response = pages.merged().await?;
    let apps = response
        .records
        .iter()
        .filter_map(|record| Some(record.request.as_ref()?.app.as_str()));
    let several = several_apps(apps);
    session.output.response(&response, |view| {
        command::table(&response.records, several, view).render(view)
    })?;
    if session.output.for_a_person() && response.records.is_empty() {
        session.output.note(NONE);
    }
    Ok(())
}

/// Shows one command.
pub(super) async fn show(
    session: &mut Session,
    request: v1::GetCommandRequest,
) -> Result<(), Failure> {
    let response = session.client.get_command(request).await?;
    let record = response
        .record
        .as_ref()
        .ok_or_else(|| session.lacking("it holds no record"))?;
    session
        .output
        .response(&response, |view| command::detail(record, view))
}
