//! The way to workers, through the aggregator: what it knows of them, questions to one of them, and commands.

use std::collections::BTreeMap;
use std::time::Duration;

use celeriac_client::{Client, Code, Error, v1};
use celeriac_process::error_chain;
use jiff::Timestamp;
use ring::digest;
use serde_json::Value;
use uuid::Uuid;
use v1::execute_command_request::Command;

use crate::aggregator;
use crate::controllers::Context;
use crate::drain::Answer;
use crate::drain::facts::{Worker, Workers};
use crate::drain::pod::nodes;

/// How long one answer of the aggregator may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// For how long a command whose connection broke is asked for again; the next step tries anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// The queue of an app whose pool names none.
const DEFAULT_QUEUE: &str = "celery";

/// Asks.
pub(super) struct Asks(Option<Result<Client, String>>);

impl Asks {
    /// A way to the aggregator that the command line names.
    pub(super) fn of(context: &Context) -> Self {
        let builder = aggregator::client(context);
        Self(builder.map(|builder| {
            let client = builder?
                .deadline(DEADLINE)
                .command_patience(PATIENCE)
                .build();
            client.map_err(|error| error_chain(&error))
        }))
    }

    /// Whether there is one.
    pub(super) fn are_there(&self) -> bool {
        self.0.is_some()
    }

    fn client(&self) -> Result<&Client, String> {
        match &self.0 {
            Some(Ok(client)) => Ok(client),
            Some(Err(words)) => Err(words.clone()),
            None => Err("the operator was started without --aggregator".to_owned()),
        }
    }

    /// What is known of the workers of a pool.
    pub(super) async fn workers(&self, app: &str, pool: &str, queues: &[String]) -> Workers {
        let client = match self.client() {
            Ok(client) => client,
            Err(words) => return Workers::NotNow(words),
        };
        let queues = match queues {
            [] => vec![DEFAULT_QUEUE.to_owned()],
            queues => queues.to_vec(),
        };
        let request = v1::GetDemandRequest {
            app: app.to_owned(),
            queues,
            worker_prefix: nodes(pool),
        };
        let demand = match client.get_demand(request).await {
            Ok(demand) => demand,
            Err(Error::Refused(refusal)) if refusal.code == Code::NotFound => {
                return Workers::NotNow(format!("the aggregator knows no app {app} yet"));
            }
            Err(error) => return Workers::NotNow(error_chain(&error)),
        };
        if !demand.fresh {
            return Workers::NotNow(demand.stale_reason);
        }
        let workers = demand.workers.into_iter();
        Workers::Known(workers.map(worker).collect::<BTreeMap<_, _>>())
    }

    /// Asks one worker what it consumes, what waits in it and what it runs, in this order: a task that begins meanwhile is in
    /// one of the two.
    pub(super) async fn ask(&self, app: &str, node: &str) -> Result<Answer, String> {
        let at = super::now();
        let inspect = async |name: &str| {
            let command = Command::Inspect(v1::InspectCommand {
                name: name.to_owned(),
                arguments_json: String::new(),
            });
            self.tell(app, node, command, "drain").await
        };
        let queues = inspect("active_queues").await?;
        let queues = names(&queues.answer_json)
            .ok_or_else(|| "it does not say which queues it consumes".to_owned())?;
        let count = |answer: &v1::CommandAnswer| {
            let unknown = || "it does not say how much it has".to_owned();
            answer.entries.ok_or_else(unknown)
        };
        let reserved = count(&inspect("reserved").await?)?;
        let active = count(&inspect("active").await?)?;
        Ok(Answer {
            at,
            queues,
            reserved,
            active,
        })
    }

    /// Has one worker consume from none of these queues.
    pub(super) async fn cancel(
        &self,
        app: &str,
        node: &str,
        queues: &[String],
    ) -> Result<(), String> {
        for queue in queues {
            let queue = queue.clone();
            let command = v1::CancelConsumerCommand { queue, drain: true };
            let command = Command::CancelConsumer(command);
            self.tell(app, node, command, "drain").await?;
        }
        Ok(())
    }

    /// Has one worker consume from these queues.
    pub(super) async fn add(&self, app: &str, node: &str, queues: &[String]) -> Result<(), String> {
        for queue in queues {
            let command = Command::AddConsumer(v1::AddConsumerCommand {
                queue: queue.clone(),
                ..v1::AddConsumerCommand::default()
            });
            self.tell(app, node, command, "the drain is undone").await?;
        }
        Ok(())
    }

    /// Has a worker, of a pod by its identity, consume from the queues that it lacks by its answer of then. Whoever leads, of
    /// one answer follows one command.
    pub(super) async fn restore(
        &self,
        app: &str,
        (uid, node): (&str, &str),
        queues: &[String],
        by: Timestamp,
    ) -> Result<(), String> {
        for queue in queues {
            let command = Command::AddConsumer(v1::AddConsumerCommand {
                queue: queue.clone(),
                ..v1::AddConsumerCommand::default()
            });
            let reason = "it consumed less than its pool names";
            let id = id_of([uid, queue, &by.to_string()]);
            self.tell_by(id, app, node, command, reason).await?;
        }
        Ok(())
    }

    /// Sends a command to one worker, and waits until it has answered.
    async fn tell(
        &self,
        app: &str,
        node: &str,
        command: Command,
        reason: &str,
    ) -> Result<v1::CommandAnswer, String> {
        self.tell_by(Uuid::new_v4(), app, node, command, reason)
            .await
    }

    /// The same, under an id.
    async fn tell_by(
        &self,
        id: Uuid,
        app: &str,
        node: &str,
        command: Command,
        reason: &str,
    ) -> Result<v1::CommandAnswer, String> {
        let request = v1::ExecuteCommandRequest {
            app: app.to_owned(),
            request_id: id.to_string(),
            destination: vec![node.to_owned()],
            reason: reason.to_owned(),
            command: Some(command),
            ..v1::ExecuteCommandRequest::default()
        };
        let answered = self.client()?.execute_command(request, |_, _| {}).await;
        let record = answered.map_err(|error| error_chain(&error))?.record;
        let record = record.unwrap_or_default();
        let outcome = record.outcome();
        let answer = record
            .answers
            .into_iter()
            .find(|answer| answer.worker == node);
        let Some(answer) = answer else {
            return Err(format!("{outcome:?}: {}", record.outcome_reason));
        };
        match answer.kind() {
            v1::AnswerKind::Ok | v1::AnswerKind::NoEffect => Ok(answer),
            v1::AnswerKind::Error if answer.meaning.is_empty() => {
                Err(format!("it answered: {}", answer.answer_json))
            }
            _ => Err(answer.meaning),
        }
    }
}

/// The id of a command that is known by these.
fn id_of(parts: [&str; 3]) -> Uuid {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    let digest = context.finish();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn time(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// The names in an answer to `active_queues`.
fn names(json: &str) -> Option<Vec<String>> {
    let Ok(Value::Array(queues)) = serde_json::from_str(json) else {
        return None;
    };
    let name = |queue: &Value| queue["name"].as_str().map(str::to_owned);
    queues.iter().map(name).collect()
}

fn worker(found: v1::WorkerDemand) -> (String, Worker) {
    let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    let worker = Worker {
        online: found.online,
        pid: Some(found.pid).filter(|pid| *pid != 0),
        life: found.incarnation,
        slots: count(found.slots),
        active: count(found.active),
        reserved: count(found.reserved),
        scheduled: count(found.scheduled),
        remainder: found
            .expected_remainder
            .and_then(|time| Duration::try_from(time).ok()),
        queues: found
            .queues
            .and_then(|queues| Some((queues.names, queues.time.and_then(time)?))),
        cancelled: found.cancelled_queues.map(|cancelled| {
            let cancelled = cancelled.queues.into_iter();
            // Not to know when is to take it for the latest word.
            let since = |time: Option<_>| time.and_then(self::time).unwrap_or(Timestamp::MAX);
            let cancelled = cancelled.map(|queue| (queue.name, since(queue.time)));
            cancelled.collect()
        }),
    };
    (found.name, worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_answer_follows_one_command() {
        let id = |uid, queue, by| id_of([uid, queue, by]);
        let one = id("u", "mail", "1");
        assert_eq!(one, id("u", "mail", "1"));
        for other in [
            id("v", "mail", "1"),
            id("u", "new", "1"),
            id("u", "mail", "2"),
            id("um", "ail", "1"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(Uuid::parse_str(&one.to_string()), Ok(one));
    }

    #[test]
    fn queues_are_read_from_what_celery_says() {
        let said = r#"[{"name": "mail", "exchange": {"name": "mail"}}, {"name": "news"}]"#;
        assert_eq!(
            names(said),
            Some(vec!["mail".to_owned(), "news".to_owned()])
        );
        assert_eq!(names("[]"), Some(Vec::new()));
        for other in ["\"\"", "null", r#"{"error": "x"}"#, "[1]"] {
            assert_eq!(names(other), None, "{other}");
        }
    }
}
