//! Apps on a control plane that will be broken, and what of them has to be there in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use celeriac_tests::kube::{AuditLog, Call, ControlPlane, Mark, Namespace, SOON};
use celeriac_tests::operator::{define, sample};
use celeriac_tests::{Operator, eventually};
use serde_json::Value;

/// No aggregator answers there: what it would tell is not what these tests are about.
const AGGREGATOR: &str = "http://127.0.0.1:1";

/// A control plane that knows our resources, for one test alone.
pub(crate) async fn plane() -> ControlPlane {
    let plane = ControlPlane::start().await;
    define(plane.administrator());
    plane
}

/// An operator of all namespaces, under an account of that name.
pub(crate) async fn operator(plane: &ControlPlane, home: &Namespace, account: &str) -> Operator {
    Operator::start_as(plane, home, account, &["--aggregator", AGGREGATOR]).await
}

/// The README's sample under another name.
pub(crate) fn app(name: &str) -> String {
    sample().replace("name: shop\n", &format!("name: {name}\n"))
}

/// Kinds that an app's parts become, and which of each an app called `{}` has.
const PARTS: [(&str, &[&str]); 7] = [
    ("celeryworkers", &["{}-default", "{}-mail"]),
    ("celeryschedulers", &["{}-beat"]),
    ("celerybrokers", &["{}-broker"]),
    ("deployments", &["{}-default", "{}-inspector", "{}-mail"]),
    ("statefulsets", &["{}-beat", "{}-broker"]),
    ("services", &["{}-broker"]),
    ("poddisruptionbudgets", &["{}-default", "{}-mail"]),
];

/// Waits until exactly these apps are there with everything that is theirs, in that image, and one beat each; the operator
/// is started again when it ends, as a kubelet does.
pub(crate) async fn converged(
    operator: &mut Operator,
    namespace: &Namespace,
    apps: &[&str],
    image: &str,
) {
    eventually("all apps are what they should be", SOON * 2, async || {
        operator.keep();
        let found = look(namespace, apps, image);
        if found.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        found
    })
    .await;
}

fn look(namespace: &Namespace, apps: &[&str], image: &str) -> Result<(), String> {
    for (kind, parts) in PARTS {
        let list = namespace.try_kubectl(&["get", kind, "-o", "json"])?;
        let list: Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned);
        let mut found: Vec<String> = items.iter().filter_map(name).collect();
        found.sort();
        let all = apps
            .iter()
            .flat_map(|app| parts.iter().map(move |part| part.replace("{}", app)));
        let mut wanted: Vec<String> = all.collect();
        wanted.sort();
        if found != wanted {
            return Err(format!("{kind}: {found:?}, not {wanted:?}"));
        }
        for item in &items {
            let item_name = name(item).unwrap_or_default();
            if item_name.ends_with("-beat") && kind == "statefulsets" {
                assert_eq!(item["spec"]["replicas"], 1, "{item}");
            }
            let theirs = ["-default", "-mail", "-beat"]
                .iter()
                .any(|end| item_name.ends_with(end));
            let container = &item["spec"]["template"]["spec"]["containers"][0];
            if theirs && container.is_object() && container["image"] != image {
                return Err(format!("{kind} {item_name} has {}", container["image"]));
            }
        }
    }
    Ok(())
}

/// Creations that succeeded, by resource and the name in the body: server-side apply creates too, and says 201.
pub(crate) fn created(audit: &AuditLog, mark: Mark, user: &str) -> BTreeMap<(String, String), u32> {
    let mut created = BTreeMap::new();
    let calls = audit.calls_since(mark).into_iter();
    for call in calls.filter(|call| call.user == user && call.code == 201) {
        if call.resource.ends_with("events") || call.resource == "leases" {
            continue;
        }
        let in_body = call.body["metadata"]["name"].as_str();
        let name = in_body.unwrap_or(&call.name).to_owned();
        *created.entry((call.resource, name)).or_default() += 1;
    }
    created
}

/// What a user wrote into a namespace since then, leases aside.
pub(crate) fn writes(audit: &AuditLog, mark: Mark, user: &str, namespace: &Namespace) -> Vec<Call> {
    let calls = audit.calls_since(mark).into_iter();
    calls
        .filter(|call| call.user == user && call.namespace == namespace.name())
        .filter(|call| call.is_write() && call.resource != "leases" && call.code < 300)
        .collect()
}

/// Waits until a user has nothing more to write for five seconds.
pub(crate) async fn settled(audit: &AuditLog, user: &str, namespace: &Namespace) {
    let mut mark = audit.mark();
    eventually("nothing more is written", SOON, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let found = writes(audit, mark, user, namespace);
        mark = audit.mark();
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}

/// The version of every object of an app's kinds: it is another when anything of it changed.
pub(crate) fn versions(namespace: &Namespace) -> Vec<String> {
    let kinds: Vec<&str> = PARTS.iter().map(|(kind, _)| *kind).collect();
    let format = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    let text = namespace.kubectl(&[
        "get",
        &format!("celeries,{}", kinds.join(",")),
        "-o",
        format,
    ]);
    let mut versions: Vec<String> = text.lines().map(str::to_owned).collect();
    versions.sort();
    versions
}

/// Waits until it is said of everything that no aggregator answers, which is some seconds after all else.
pub(crate) async fn told(namespace: &Namespace) {
    eventually("it is said what is not known", SOON, async || {
        let command = [
            "get",
            "celeries,celeryworkers,celerybrokers",
            "--show-managed-fields",
            "-o",
            "json",
        ];
        let all: Value = serde_json::from_str(&namespace.try_kubectl(&command)?)
            .map_err(|error| error.to_string())?;
        let mut all = all["items"].as_array().into_iter().flatten();
        let untold = |item: &&Value| {
            !item["metadata"]["managedFields"]
                .to_string()
                .contains("celeriac-operator/live")
        };
        match all.find(untold) {
            None => Ok(()),
            Some(item) => Err(item["status"].to_string()),
        }
    })
    .await;
}
