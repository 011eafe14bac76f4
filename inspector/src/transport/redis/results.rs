//! Outcomes of tasks from a Redis result backend: a connection of its own, which only reads.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::super::TransportError;
use super::link::{Dialer, Link, Speaker};
use super::{NotRedis, Patience};
use crate::wire::outcome::{OUTCOME_BYTES_MAX, key};
use crate::wire::topology::SentinelOptions;
use crate::wire::url::BrokerUrl;

/// A result backend. Nothing is connected before the first use.
pub(in crate::transport) struct Results {
    dialer: Dialer,
    /// The backend's `global_keyprefix`.
    prefix: String,
    link: Arc<Mutex<Option<Link>>>,
}

impl Results {
    /// # Errors
    /// When the URL is not one of a Redis server.
    pub(in crate::transport) fn new(
        url: &BrokerUrl,
        prefix: String,
        patience: Patience,
    ) -> Result<Self, NotRedis> {
        Ok(Self {
            dialer: Dialer::new(url, &SentinelOptions::default(), patience)?,
            prefix,
            link: Arc::default(),
        })
    }

    /// The values of these tasks, in order; empty where there is none. Of each one byte more than is read, so that one that
    /// is too long shows.
    pub(in crate::transport) async fn values(
        &self,
        ids: &[String],
    ) -> Result<Vec<Vec<u8>>, TransportError> {
        let mut commands = redis::pipe();
        for id in ids {
            let range = commands.cmd("GETRANGE").arg(key(&self.prefix, id));
            range.arg(0).arg(OUTCOME_BYTES_MAX);
        }
        self.speaker().await?.ask_all("GETRANGE", &commands).await
    }

    async fn speaker(&self) -> Result<Speaker, TransportError> {
        let mut slot = self.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| self.dialer.keeps(link)) {
            return Ok(link.speaker());
        }
        *slot = None;
        let link = self.dialer.dial(None).await?;
        let speaker = link.speaker();
        *slot = Some(link);
        Ok(speaker)
    }

    pub(in crate::transport) async fn close(&self) {
        if let Some(link) = self.link.lock().await.take() {
            link.shut().await;
        }
    }
}
