//! Every rule of the definitions, and an example that breaks it.

/// A manifest, a change of it, and the words that refuse it.
pub(super) struct Refusal {
    pub(super) kind: &'static str,
    /// Path into the object, and what is there instead.
    pub(super) change: &'static [(&'static str, &'static str)],
    pub(super) words: &'static str,
}

const fn refusal(
    kind: &'static str,
    change: &'static [(&'static str, &'static str)],
    words: &'static str,
) -> Refusal {
    Refusal {
        kind,
        change,
        words,
    }
}

pub(super) const NATIVE: &str = r#"{"mode": "native", "max": 2}"#;
pub(super) const QUEUES: (&str, &str) = ("/spec/targetQueues", r#"["mail"]"#);
pub(super) const IN_AN_APP: (&str, &str) = ("/spec/celeryRef", r#"{"name": "shop"}"#);
const FOR_NATIVE: &str =
    "min, max, targetLatencySeconds, paused and dryRun are for scaling.mode native";

/// Every rule of the definitions, with an example that breaks it.
pub(super) const REFUSALS: &[Refusal] = &[
    refusal(
        "Celery",
        &[(
            "/metadata/name",
            r#""a-name-that-is-much-too-long-for-any-app-1""#,
        )],
        "the name must have at most 40 characters: names of pods are made of it",
    ),
    refusal(
        "Celery",
        &[
            (
                "/metadata/name",
                r#""a-name-that-is-long-enough-for-an-app""#,
            ),
            ("/spec/schedulers/0/name", r#""nightly-reports""#),
        ],
        "the names of app and scheduler together must have at most 49 characters",
    ),
    refusal(
        "Celery",
        &[("/spec/image", "null")],
        "image is missing: name the image that holds the app, for all or for each worker and scheduler",
    ),
    refusal(
        "Celery",
        &[("/spec/appName", "null")],
        "appName is missing: name the app as celery -A takes it, for all or for each worker and scheduler",
    ),
    refusal(
        "Celery",
        &[("/spec/workers/0/name", r#""inspector""#)],
        "inspector is the name of the app's inspector",
    ),
    refusal(
        "Celery",
        &[("/spec/schedulers/0/name", r#""broker""#)],
        "broker is the name of the app's broker",
    ),
    refusal(
        "Celery",
        &[(
            "/spec/inspector",
            r#"{"env": [{"name": "CELERIAC_INSPECTOR_APP", "value": "x"}]}"#,
        )],
        "the inspector's broker, app, aggregator, address and events are set by the operator",
    ),
    refusal(
        "CeleryBroker",
        &[(
            "/metadata/name",
            r#""a-name-that-is-really-much-too-long-for-a-broker-that""#,
        )],
        "the name must have at most 50 characters: names of pods are made of it",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", "null")],
        "a broker of type external needs either brokerAddress or secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/type", r#""redis""#)],
        "brokerAddress and secretKeyRef are for type external: the operator makes those of a broker it runs",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", r#""redis://:hunter2@redis:6379/0""#)],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[(
            "/spec/brokerAddress",
            r#""sentinel://one:26379;sentinel://:hunter2@two:26379""#,
        )],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", r#""redis://:hun/ter2@redis:6379/0""#)],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[(
            "/spec/brokerAddress",
            r#""redis://redis:6379/0?password=hunter2""#,
        )],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", r#""sqs://""#)],
        "brokerAddress must begin with redis://, rediss://",
    ),
    refusal(
        "CeleryBroker",
        &[
            ("/spec/brokerAddress", "null"),
            ("/spec/type", r#""redis""#),
            ("/spec/replicas", "3"),
        ],
        "replicas is for type rabbitmq: a Redis broker is one server",
    ),
    refusal(
        "CeleryBroker",
        &[
            ("/spec/brokerAddress", "null"),
            ("/spec/type", r#""rabbitmq""#),
            ("/spec/replicas", "2"),
        ],
        "replicas must be 1 or 3: of two servers neither can go on without the other",
    ),
    refusal(
        "CeleryWorker",
        &[(
            "/metadata/name",
            r#""a-name-that-is-really-much-too-long-for-a-label-of-the-pods-of-a-pool""#,
        )],
        "the name must have at most 63 characters: it is a label of its pods",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/image", "null")],
        "image is missing: name the image",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/appName", "null")],
        "appName is missing: name the app",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/broker", "{}")],
        "give either address or secretKeyRef",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/broker/address", r#""amqp://guest:guest@rabbit//""#)],
        "address holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryWorker",
        &[(
            "/spec/env",
            r#"[{"name": "CELERY_BROKER_URL", "value": "redis://x"}]"#,
        )],
        "CELERY_BROKER_URL, CELERY_RESULT_BACKEND and POD_NAME are set by the operator: use broker and resultBackend",
    ),
    refusal(
        "CeleryWorker",
        &[(
            "/spec/sidecar",
            r#"{"env": [{"name": "CELERIAC_INSPECTOR_DRAIN_TOKEN_FILE", "value": "x"}]}"#,
        )],
        "the sidecar's broker, app, aggregator, address, worker and drain are set by the operator",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/softTimeLimit", "60"), ("/spec/timeLimit", "60")],
        "softTimeLimit must be shorter than timeLimit: a task gets the time between to clean up",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/softTimeLimit", "60"), ("/spec/pool", r#""gevent""#)],
        "softTimeLimit works in the prefork pool only",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/timeLimit", "60"), ("/spec/pool", r#""threads""#)],
        "timeLimit works in the prefork and gevent pools only",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/maxTasksPerChild", "60"),
            ("/spec/pool", r#""threads""#),
        ],
        "maxTasksPerChild and maxMemoryPerChild work in the prefork pool only: no other has child processes",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/concurrency", "2"), ("/spec/pool", r#""solo""#)],
        "a solo worker runs one task at a time: leave concurrency out",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/disablePrefetch", "true"),
            ("/spec/prefetchMultiplier", "1"),
        ],
        "prefetchMultiplier has no effect with disablePrefetch",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/scaling", r#"{"mode": "native"}"#),
            IN_AN_APP,
            QUEUES,
        ],
        "scaling.max is missing: native scaling has to know how many workers there may be",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/scaling", r#"{"mode": "native", "min": 3, "max": 2}"#),
            IN_AN_APP,
            QUEUES,
        ],
        "scaling.min must not be above scaling.max",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", NATIVE), IN_AN_APP],
        "targetQueues is missing: native scaling goes by the load of the queues that it names",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", NATIVE), QUEUES],
        "celeryRef is missing: native scaling goes by what is known of its app",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"mode": "external", "max": 2}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"min": 0}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"targetLatencySeconds": 9}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"paused": true}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"dryRun": true}"#)],
        FOR_NATIVE,
    ),
    // In an app as in a pool.
    refusal(
        "Celery",
        &[("/spec/workers/0/scaling", r#"{"mode": "native"}"#)],
        "scaling.max is missing: native scaling has to know how many workers there may be",
    ),
    refusal(
        "Celery",
        &[("/spec/workers/0/scaling", NATIVE)],
        "targetQueues is missing: native scaling goes by the load of the queues that it names",
    ),
    refusal(
        "CeleryScheduler",
        &[(
            "/metadata/name",
            r#""a-name-that-is-really-much-too-long-for-any-scheduler""#,
        )],
        "the name must have at most 50 characters: names of pods are made of it",
    ),
    refusal(
        "CeleryScheduler",
        &[("/spec/image", "null")],
        "image is missing: name the image",
    ),
    refusal(
        "CeleryScheduler",
        &[("/spec/appName", "null")],
        "appName is missing: name the app",
    ),
    // D13: more than one beat cannot be asked for.
    refusal(
        "CeleryScheduler",
        &[("/spec/replicas", "2")],
        r#"unknown field "spec.replicas""#,
    ),
];

/// What rules about changes refuse: kind, path, what is there instead, words.
pub(super) const FROZEN: &[(&str, &str, &str, &str)] = &[
    (
        "CeleryBroker",
        "/spec",
        r#"{"type": "redis"}"#,
        "the type of a broker cannot be changed: its queues would be left behind",
    ),
    (
        "CeleryBroker",
        "/spec/storage",
        r#"{"size": "9Gi"}"#,
        "the size of a volume is changed at its PersistentVolumeClaim",
    ),
    (
        "CeleryBroker",
        "/spec/storage",
        r#"{"storageClassName": "slow"}"#,
        "the StorageClass of a volume cannot be changed",
    ),
    (
        "CeleryScheduler",
        "/spec/storage",
        r#"{"size": "9Gi"}"#,
        "the volume of a schedule cannot be changed: delete the scheduler and make it again",
    ),
];

/// What is refused of a RabbitMQ of ours once it is there.
pub(super) const LOWERED: &str =
    "replicas cannot be lowered: what the queues of a server hold would go with it";
pub(super) const MOVED: &str =
    "who runs a broker cannot be changed: its queues would be left behind";
