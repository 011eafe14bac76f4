//! What the operator's tests share.

use celeriac_tests::kube::ControlPlane;
use celeriac_tests::operator::define;
use tokio::sync::OnceCell;

static DEFINED: OnceCell<()> = OnceCell::const_new();

/// The control plane, once it knows our resources.
pub(crate) async fn plane() -> &'static ControlPlane {
    let plane = ControlPlane::shared().await;
    DEFINED
        .get_or_init(async || define(plane.administrator()))
        .await;
    plane
}
