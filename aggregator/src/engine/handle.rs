//! The way into the engine, for those who hand it inputs.

use tokio::sync::{mpsc, oneshot, watch};

use super::Wake;
use super::command::{Accepted, NewCommand, NotRecorded};
use super::order::Order;
use super::session::{Hello, SessionState};
use crate::command::Report;
use crate::state::input::Input;

/// What an inspector sent at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its number.
    pub sequence: u64,
    /// What is folded.
    pub inputs: Vec<Input>,
    /// What became of commands.
    pub commands: Vec<Report>,
}

/// The engine has ended.
#[derive(Debug, thiserror::Error)]
#[error("the aggregator is shutting down")]
pub struct EngineStopped;

/// An inspector's place in the engine; ends when it is dropped.
pub struct Attachment {
    /// What the inspector has to be told.
    pub state: watch::Receiver<SessionState>,
    /// What it is to do; only one that is folded gets any.
    pub orders: mpsc::Receiver<Order>,
    pub(super) session: u64,
}

/// Hands inputs to the engine.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) wakes: mpsc::Sender<Wake>,
    pub(super) told: watch::Receiver<u64>,
}

impl EngineHandle {
    /// Registers an inspector.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn attach(&self, hello: Hello) -> Result<Attachment, EngineStopped> {
        let (reply, attachment) = oneshot::channel();
        self.wakes
            .send(Wake::Attach(hello, reply))
            .await
            .map_err(|_closed| EngineStopped)?;
        attachment.await.map_err(|_closed| EngineStopped)
    }

    /// Hands over a batch; waits while the engine is behind.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn batch(&self, attachment: &Attachment, batch: Batch) -> Result<(), EngineStopped> {
        let wake = Wake::Batch {
            session: attachment.session,
            batch,
        };
        self.wakes.send(wake).await.map_err(|_closed| EngineStopped)
    }

    /// Records a command and has it published, once: of the same request id the second is only compared. Returns when it is
    /// on disk. Dropped before, it may have been recorded or not.
    ///
    /// # Errors
    /// It was not recorded, and nothing was sent.
    pub async fn command(&self, new: NewCommand) -> Result<Accepted, NotRecorded> {
        let (caller, answer) = oneshot::channel();
        let wake = Wake::Command(Box::new(new), caller);
        self.wakes
            .send(wake)
            .await
            .map_err(|_closed| NotRecorded::Stopped)?;
        answer.await.unwrap_or(Err(NotRecorded::Stopped))
    }

    /// Says that the demand of these queues is followed, if the engine is not behind: it is to be said every few seconds.
    pub fn follows(&self, app: &str, queues: &[String]) {
        let wake = Wake::Follows {
            app: app.to_owned(),
            queues: queues.to_vec(),
        };
        // Full: the next time will do.
        let _full = self.wakes.try_send(wake);
    }

    /// Changes whenever something of a command has come to disk.
    pub fn commands_told(&self) -> watch::Receiver<u64> {
        self.told.clone()
    }
}
