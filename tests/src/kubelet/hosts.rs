//! Names of services in the pods' hosts files: there is no DNS and no kube-proxy, so a name leads straight to the pods that
//! are ready, on their own ports.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::pod::Running;

/// Addresses by name and namespace of a service, each with the hostname of its pod, if it has one.
pub(super) type Services = BTreeMap<(String, String), Vec<(String, Option<String>)>>;

/// What slices tell.
pub(super) fn services<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Services {
    let mut services = Services::new();
    for slice in slices {
        let Some(service) = slice.labels().get("kubernetes.io/service-name") else {
            continue;
        };
        let entry = services.entry((service.clone(), slice.namespace().unwrap_or_default()));
        let addresses = entry.or_default();
        for endpoint in &slice.endpoints {
            let ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready);
            if ready != Some(false) {
                let named = |address: &String| (address.clone(), endpoint.hostname.clone());
                addresses.extend(endpoint.addresses.iter().map(named));
            }
        }
    }
    services
}

/// Writes a pod's hosts file, in place: it is mounted.
pub(super) fn write(pod: &Running, services: &Services) -> std::io::Result<()> {
    std::fs::write(pod.hosts_file(), text(pod, services))
}

fn text(pod: &Running, services: &Services) -> String {
    let mut text = format!(
        "127.0.0.1 localhost\n{} {}\n{} {} kubernetes kubernetes.default\n",
        pod.address,
        pod.name,
        pod.node.network.host(),
        super::API_SERVER,
    );
    for ((service, namespace), addresses) in services {
        for (address, hostname) in addresses {
            let full = format!(
                "{service}.{namespace}.svc.cluster.local {service}.{namespace}.svc {service}.{namespace}"
            );
            let _ = write!(text, "{address} {full}");
            if *namespace == pod.namespace {
                let _ = write!(text, " {service}");
            }
            if let Some(hostname) = hostname {
                let of = format!("{hostname}.{service}");
                let _ = write!(
                    text,
                    " {of}.{namespace}.svc.cluster.local {of}.{namespace}.svc {of}.{namespace} {of}"
                );
            }
            text.push('\n');
        }
    }
    text
}
