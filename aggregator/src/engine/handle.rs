//! The way into the engine, for those who hand it inputs.

use tokio::sync::{mpsc, oneshot, watch};

use super::Wake;
use super::order::{CommandReport, Order};
use super::session::{Hello, SessionState};
use crate::state::input::Input;

/// What an inspector sent at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its number.
    pub sequence: u64,
    /// What is folded.
    pub inputs: Vec<Input>,
    /// What became of commands.
    pub commands: Vec<CommandReport>,
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
}
