//! A Python process with the demo app that answers questions: what Celery itself says of its workers, without an import of
//! Celery for each question.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::celery::Celery;
use crate::process::Process;
use crate::redis::Redis;
use crate::wait::eventually;

/// How long a question may take: a start of Python on a busy machine, and Celery's own time-outs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Reads Python expressions from a list of a database of its own, and writes what they give as JSON.
const LOOP: &str = r#"
import redis
from concurrent.futures import ThreadPoolExecutor

def asked(name, method, *args, **kwargs):
    """What Celery's own inspection says of one worker."""
    inspect = app.control.inspect(destination=[name], timeout=10)
    return (getattr(inspect, method)(*args, **kwargs) or {}).get(name)

def sent(task, queue, *args, **options):
    """Sends a task to a queue; its id."""
    return task.apply_async(args, queue=queue, **options).id

def state(id):
    return app.AsyncResult(id).state

def answer(question):
    number, expression = question.split(" ", 1)
    try:
        answer = {"value": eval(expression, globals())}
    except Exception as error:
        answer = {"error": repr(error)}
    channel.rpush("answer-" + number, json.dumps(answer, default=str))

# A worker that does not answer keeps nobody waiting who asks another.
threads = ThreadPoolExecutor(max_workers=8)
channel = redis.Redis.from_url(os.environ["WITNESS"])
while True:
    # Newer clients give up on a socket that is silent for long.
    asked_for = channel.blpop("questions", timeout=1)
    if not asked_for:
        continue
    threads.submit(answer, asked_for[1].decode())
"#;

/// The running process.
pub struct Witness {
    _process: Process,
    redis: Redis,
    asked: AtomicU64,
}

impl Witness {
    /// Starts one on a Redis of its own, beside the one that Celery uses.
    pub fn start(celery: &Celery) -> Self {
        let redis = Redis::start();
        let process = celery.clone().env("WITNESS", &redis.url()).start(LOOP);
        Self {
            _process: process,
            redis,
            asked: AtomicU64::new(0),
        }
    }

    /// What a Python expression gives in the demo app's module. `asked(worker, method, …)` is what Celery's inspection
    /// says, `sent(task, queue, …)` sends a task, `state(id)` is its result's state. Several questions may be asked at once.
    ///
    /// # Panics
    /// When it raises, or takes too long.
    pub async fn ask(&self, expression: &str) -> Value {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let question = format!("{number} {expression}");
        self.redis.cli(&["RPUSH", "questions", &question]);
        let answers = format!("answer-{number}");
        let text = eventually(expression, PATIENCE, async || {
            match self.redis.cli(&["LPOP", &answers]) {
                crate::resp::Value::Text(text) => Ok(text),
                other => Err(format!("no answer yet: {other:?}")),
            }
        })
        .await;
        let mut answer: Value = serde_json::from_str(&text).expect("the witness writes JSON");
        assert_eq!(answer["error"], Value::Null, "{expression}");
        answer["value"].take()
    }
}
