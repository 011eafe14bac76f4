//! What the aggregator orders, beside the plan.

use super::Collector;
use crate::collect::order::{CommandReport, Order};

impl Collector {
    /// Takes an order in.
    pub(super) fn on_order(&mut self, order: Order) {
        match order {
            Order::Command(command) => self.pending.commands.push(CommandReport::not_published(
                command.request_id,
                "this inspector publishes no commands yet",
            )),
        }
    }
}
