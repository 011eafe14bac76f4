//! What the operator's tests share.

use celeriac_tests::kube::{Access, ControlPlane};
use celeriac_tests::paths;
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

fn define(administrator: &Access) {
    let folder = paths::root().join("deploy/crds");
    let folder = folder.to_str().expect("a path in ASCII");
    // As the documentation says: with server-side apply, which keeps no copy in an annotation.
    administrator.kubectl(&["apply", "--server-side", "-f", folder]);
    administrator.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "-f",
        folder,
    ]);
}

/// The sample that the README shows.
pub(crate) fn sample() -> String {
    let path = paths::root().join("deploy/samples/shop.yaml");
    std::fs::read_to_string(path).expect("the sample is there")
}
