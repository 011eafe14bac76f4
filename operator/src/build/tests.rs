//! The objects of the sample, whole: a change of them is a rollout of everybody's pods.

use serde_json::{Value, json};

use super::inspector::Inspection;
use super::sidecar::Guard;
use super::{Desired, Owner, SECRETS_ANNOTATION, app, broker, inspector, scheduler, worker};
use crate::crd::{CelerySchedulerSpec, CelerySpec, CeleryWorkerSpec, SidecarPin, UrlSource};
use crate::validate;

mod rabbitmq;
mod sidecars;

const GOLDEN: &str = include_str!("golden/shop.yaml");

fn owner(kind: &'static str, name: &str) -> Owner {
    Owner {
        kind,
        name: name.to_owned(),
        namespace: "live".to_owned(),
        uid: format!("uid-of-{name}"),
        app: Some("shop".to_owned()),
    }
}

fn sample() -> CelerySpec {
    let sample: Value =
        serde_saphyr::from_str(include_str!("../../../deploy/samples/shop.yaml")).unwrap();
    serde_json::from_value(sample["spec"].clone()).unwrap()
}

fn url(spec: &CelerySpec) -> UrlSource {
    app::broker_url("shop", spec, &Value::Null).expect("a Redis of ours is found by its name")
}

fn guard() -> Guard {
    Guard {
        pin: SidecarPin {
            image: "celeriac/inspector:1".to_owned(),
            aggregator: "http://aggregator:5555".to_owned(),
            ..SidecarPin::default()
        },
        token: "t0ken".to_owned(),
    }
}

/// Everything that the sample becomes, as the operator would make it step by step.
fn objects() -> Vec<Desired> {
    let spec = sample();
    let shop = owner("Celery", "shop");
    let url = url(&spec);
    let inspection = Inspection {
        aggregator: "http://aggregator:5555".to_owned(),
        image: "celeriac/inspector:1".to_owned(),
        authority: None,
        audience: None,
    };
    let mut all = vec![app::broker_object(&shop, &spec)];
    all.extend(broker::objects(
        &owner("CeleryBroker", "shop-broker"),
        &spec.broker,
    ));
    for pool in app::pools(&shop, &spec, &url) {
        let options: CeleryWorkerSpec =
            serde_json::from_value(pool.object.body["spec"].clone()).unwrap();
        let valid = validate::pool(&options.options, Some("5ec2e7".to_owned()));
        let name = pool.object.name.clone();
        all.push(pool.object);
        let owner = owner("CeleryWorker", &name);
        all.push(worker::deployment(&owner, &options, &valid, Some(&guard())));
        all.extend(worker::others(&owner, &options));
    }
    for one in app::schedulers(&shop, &spec, &url) {
        let options: CelerySchedulerSpec =
            serde_json::from_value(one.body["spec"].clone()).unwrap();
        let name = one.name.clone();
        all.push(one);
        all.extend(scheduler::objects(
            &owner("CeleryScheduler", &name),
            &options,
            Some("5ec2e7"),
        ));
    }
    all.push(inspector::object(
        &shop,
        &spec.inspector,
        &url,
        &inspection,
        Some("5ec2e7"),
    ));
    all
}

#[test]
fn the_sample_becomes_these_objects() {
    are(&objects(), GOLDEN, "shop.yaml");
}

/// Holds objects against a golden file.
fn are(objects: &[Desired], golden: &str, file: &str) {
    let text: Vec<String> = objects
        .iter()
        .map(|object| serde_saphyr::to_string(&object.body).unwrap())
        .collect();
    let text = text.join("---\n");
    if text != golden {
        let path = std::env::temp_dir().join(format!("celeriac-golden-{file}"));
        std::fs::write(&path, &text).unwrap();
        panic!(
            "not operator/src/build/golden/{file}; what was made is in {}",
            path.display()
        );
    }
}

fn pool(options: &Value) -> Value {
    let mut spec =
        json!({"image": "x:1", "appName": "shop", "broker": {"address": "redis://redis/0"}});
    for (name, value) in options.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let spec: CeleryWorkerSpec = serde_json::from_value(spec).unwrap();
    let valid = validate::pool(&spec.options, None);
    let mut deployment = worker::deployment(&owner("CeleryWorker", "pool"), &spec, &valid, None);
    deployment.body["spec"].take()
}

fn arguments(options: &Value) -> String {
    let spec = pool(options);
    let arguments = spec["template"]["spec"]["containers"][0]["args"]
        .as_array()
        .unwrap();
    let words: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    words.join(" ")
}

/// D2: global options come before the subcommand.
#[test]
fn d2_arguments_are_in_the_order_that_celery_takes() {
    assert_eq!(
        arguments(&json!({})),
        "-A shop worker --hostname=celery@$(POD_NAME) --loglevel=INFO --pool=prefork -Ofair --without-gossip -E"
    );
    assert_eq!(
        arguments(&json!({
            "targetQueues": ["a", "b"], "pool": "threads", "concurrency": 8, "prefetchMultiplier": 1,
            "withoutGossip": false, "withoutMingle": true, "taskEvents": false, "logLevel": "warning",
            "extraArgs": ["--statedb=/tmp/state"],
        })),
        "-A shop worker --hostname=celery@$(POD_NAME) --loglevel=WARNING --pool=threads --concurrency=8 --queues=a,b \
         --prefetch-multiplier=1 --without-mingle --statedb=/tmp/state"
    );
    assert!(
        arguments(&json!({"softTimeLimit": 50, "timeLimit": 60, "maxTasksPerChild": 7, "maxMemoryPerChild": 9}))
            .contains(
                "--soft-time-limit=50 --time-limit=60 --max-tasks-per-child=7 --max-memory-per-child=9 -Ofair"
            )
    );
    assert!(arguments(&json!({"disablePrefetch": true})).contains(" --disable-prefetch "));
}

/// D14: what has no field of its own is written in the pod template, and what selects pods stays.
#[test]
fn d14_a_pod_template_is_merged_and_cannot_break_the_selector() {
    let spec = pool(&json!({"podTemplate": {
        "metadata": {"labels": {"team": "mail", "celeriac.dev/worker": "other"}},
        "spec": {
            "nodeSelector": {"disk": "fast"},
            "containers": [
                {"name": "celery", "volumeMounts": [{"name": "v", "mountPath": "/v"}], "env": [{"name": "A", "value": "b"}]},
                {"name": "side", "image": "y:1"},
            ],
        },
    }}));
    let template = &spec["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "mail");
    assert_eq!(
        template["metadata"]["labels"]["celeriac.dev/worker"],
        "pool"
    );
    assert_eq!(
        spec["selector"]["matchLabels"],
        json!({"celeriac.dev/worker": "pool"})
    );
    assert_eq!(template["spec"]["nodeSelector"]["disk"], "fast");
    let containers = template["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    assert_eq!(containers[0]["image"], "x:1");
    let variables: Vec<&str> = containers[0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(variables, ["POD_NAME", "CELERY_BROKER_URL", "A"]);
}

/// A process 1 does not hear SIGTERM before Celery listens for it.
#[test]
fn nobody_of_celery_is_process_1_unless_its_owner_says_so() {
    let shared = |pod: &Value| {
        let spec = pool(&json!({"podTemplate": {"spec": pod}}));
        spec["template"]["spec"]["shareProcessNamespace"].clone()
    };
    assert_eq!(shared(&json!({})), true);
    assert_eq!(shared(&json!({"shareProcessNamespace": false})), false);
    // Together they are refused.
    assert_eq!(shared(&json!({"hostPID": true})), Value::Null);
}

/// The Deployment's replicas have a writer of their own.
#[test]
fn d7_no_replicas_are_built() {
    assert_eq!(pool(&json!({"replicas": 7}))["replicas"], Value::Null);
}

/// D10, D12: a broker of our own keeps its tasks, is probed, and its password is in its Secret only.
#[test]
fn d10_d12_a_broker_is_kept_probed_and_its_password_secret() {
    let shop = owner("CeleryBroker", "shop-broker");
    let data = broker::secret_data(&shop, "pass", "key");
    assert_eq!(data["url"], "redis://:pass@shop-broker.live.svc:6379/0");
    assert!(data["redis.conf"].contains("maxmemory-policy noeviction"));
    let objects = broker::objects(&shop, &sample().broker);
    let text = format!("{objects:?}");
    assert!(!text.contains("pass@") && !text.contains("requirepass"));
    // A new password is followed without another pod, so nothing of it may be in the pod's template.
    assert!(!text.contains(SECRETS_ANNOTATION));
    assert!(text.contains("volumeClaimTemplates") && text.contains("livenessProbe"));
}

/// It trusts whom it is told to, and says who it is by a token of its own account that is good for nothing else.
#[test]
fn an_inspector_trusts_and_is_known() {
    let shop = owner("Celery", "shop");
    let spec = sample();
    let inspection = Inspection {
        aggregator: "https://aggregator:5555".to_owned(),
        image: "celeriac/inspector:1".to_owned(),
        authority: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
        audience: Some("celeriac".to_owned()),
    };
    let url = url(&spec);
    let object = inspector::object(&shop, &spec.inspector, &url, &inspection, Some("5ec2e7"));
    let template = &object.body["spec"]["template"];
    assert_eq!(
        template["metadata"]["annotations"],
        json!({
            "celeriac.dev/aggregator-ca": "-----BEGIN CERTIFICATE-----\n",
            "celeriac.dev/secrets": "5ec2e7",
        })
    );
    let pod = &template["spec"];
    assert_eq!(pod["serviceAccountName"], "shop-inspector");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let token = &pod["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "celeriac");
    let container = &pod["containers"][0];
    let value = |name: &str| {
        let env = container["env"].as_array().unwrap().iter();
        let named = env.filter(|one| one["name"] == format!("CELERIAC_INSPECTOR_{name}"));
        named.map(|one| one["value"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(value("AGGREGATOR_CA"), ["/etc/celeriac/aggregator/ca.crt"]);
    let token = "/var/run/secrets/celeriac.dev/token";
    assert_eq!(value("AGGREGATOR_TOKEN_FILE"), [token]);
    let account = inspector::account(&shop).body;
    assert_eq!(account["metadata"]["name"], pod["serviceAccountName"]);
    assert_eq!(account["metadata"]["ownerReferences"][0]["name"], "shop");
    assert!(account.get("spec").is_none());
}
