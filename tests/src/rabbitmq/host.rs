//! A virtual host of a shared node, which a test has to itself.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::RabbitMq;

/// A virtual host of its own, removed when dropped.
pub struct VirtualHost {
    node: &'static RabbitMq,
    name: String,
}

impl VirtualHost {
    pub(super) fn of(node: &'static RabbitMq) -> Self {
        Self {
            node,
            name: node.make_host(),
        }
    }

    /// Its node.
    pub fn node(&self) -> &'static RabbitMq {
        self.node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its broker URL as the default user.
    pub fn url(&self) -> String {
        self.url_of(self.node.amqp, "guest")
    }

    /// Its broker URL at another address, as another user.
    pub fn url_of(&self, address: SocketAddr, user: &str) -> String {
        format!("amqp://{user}:{user}@{address}/{}", self.name)
    }

    /// Makes a user with a password like its name, and its rights here: configure, write, read.
    pub fn add_user(&self, user: &str, rights: [&str; 3]) {
        self.node.add_user(&self.name, user, rights);
    }

    /// What management says of a queue.
    ///
    /// # Errors
    /// When it says nothing, such as for a queue that is not there.
    pub fn queue(&self, queue: &str) -> Result<Value> {
        self.node
            .api()
            .get(&format!("/api/queues/{}/{queue}", self.name))
    }

    /// The names of its queues, sorted.
    ///
    /// # Errors
    /// When management does not answer.
    pub fn queues(&self) -> Result<Vec<String>> {
        self.names("queues")
    }

    /// The names of its exchanges but those of every virtual host, sorted.
    ///
    /// # Errors
    /// When management does not answer.
    pub fn exchanges(&self) -> Result<Vec<String>> {
        let mut names = self.names("exchanges")?;
        names.retain(|name| !name.is_empty() && !name.starts_with("amq."));
        Ok(names)
    }

    fn names(&self, what: &str) -> Result<Vec<String>> {
        let answer = self.node.api().get(&format!("/api/{what}/{}", self.name))?;
        let list = answer.as_array().context("it answers with a list")?;
        let mut names: Vec<String> = list
            .iter()
            .filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Deletes a queue, whoever uses it.
    ///
    /// # Panics
    /// When it was not there.
    pub fn delete_queue(&self, queue: &str) {
        self.node
            .api()
            .delete(&format!("/api/queues/{}/{queue}", self.name))
            .expect("the queue is there");
    }

    /// Closes connections whose client name begins with `prefix`, as an operator does; how many.
    ///
    /// # Errors
    /// When management does not answer.
    pub fn close_connections(&self, prefix: &str) -> Result<usize> {
        self.node.close_connections(&self.name, prefix)
    }

    /// Publishes a message, which must reach a queue.
    ///
    /// # Errors
    /// When it does not.
    pub fn publish(&self, exchange: &str, routing_key: &str, payload: &str) -> Result<()> {
        let exchange = if exchange.is_empty() {
            "amq.default"
        } else {
            exchange
        };
        let message = json!({
            "properties": {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 1},
            "routing_key": routing_key, "payload": payload, "payload_encoding": "string",
        });
        let path = format!("/api/exchanges/{}/{exchange}/publish", self.name);
        let answer = self.node.api().post(&path, &message)?;
        ensure!(
            answer["routed"] == true,
            "{exchange} {routing_key}: {answer}"
        );
        Ok(())
    }

    /// Deletes it, with everything in it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn delete(&self) -> Result<()> {
        self.node
            .api()
            .delete(&format!("/api/vhosts/{}", self.name))
    }

    /// Makes it again, empty.
    pub fn restore(&self) {
        self.node.add_host(&self.name);
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        // It may be deleted already.
        let _ = self.delete();
    }
}
