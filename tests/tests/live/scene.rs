//! A control plane that knows our resources, and an operator on it with the aggregator that it asks.

use celeriac_tests::Operator;
use celeriac_tests::kube::{ControlPlane, Namespace};

/// An operator that looks after a namespace, has its Lease there, and asks that aggregator.
pub(crate) async fn operator(plane: &ControlPlane, home: &Namespace, aggregator: &str) -> Operator {
    let arguments = ["--aggregator", aggregator, "--namespace", home.name()];
    Operator::start(plane, home, &arguments).await
}
