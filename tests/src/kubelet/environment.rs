//! The environment of a container: what its pod says, from whatever it names.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret,
    Service,
};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// Variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// What the node adds to what a pod's object says.
pub(super) struct Place {
    pub(super) node: String,
    pub(super) host: String,
    pub(super) address: String,
}

/// Resolves a container's variables, without those of its image.
pub(super) async fn resolve(
    client: &Client,
    pod: &Pod,
    container: &Container,
    place: &Place,
) -> Result<Variables> {
    let namespace = pod.namespace().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
    let mut variables = services(client, &namespace, links != Some(false)).await?;
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut entries = Variables::new();
        if let Some(map) = &source.config_map_ref {
            entries = config_map(client, &namespace, &map.name, map.optional).await?;
        }
        if let Some(of) = &source.secret_ref {
            entries = secret(client, &namespace, &of.name, of.optional).await?;
        }
        let entries = entries.into_iter();
        variables.extend(entries.map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(
                variable.value.as_deref().unwrap_or_default(),
                &variables,
            )),
            Some(source) => one(client, pod, container, place, source).await?,
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

async fn one(
    client: &Client,
    pod: &Pod,
    container: &Container,
    place: &Place,
    source: &EnvVarSource,
) -> Result<Option<String>> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(selector) = &source.field_ref {
        return field(pod, place, selector).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(container, selector).map(Some);
    }
    let (entries, key, optional, whose) = if let Some(key) = &source.secret_key_ref {
        let entries = secret(client, &namespace, &key.name, key.optional).await?;
        (entries, &key.key, key.optional, &key.name)
    } else if let Some(key) = &source.config_map_key_ref {
        let entries = config_map(client, &namespace, &key.name, key.optional).await?;
        (entries, &key.key, key.optional, &key.name)
    } else {
        bail!("a variable from an unknown source");
    };
    match entries.get(key) {
        Some(value) => Ok(Some(value.clone())),
        None if optional == Some(true) => Ok(None),
        None => bail!("couldn't find key {key} in {namespace}/{whose}"),
    }
}

/// A field of the pod, as the downward API names it.
pub(super) fn field(pod: &Pod, place: &Place, selector: &ObjectFieldSelector) -> Result<String> {
    let path = selector.field_path.as_str();
    let spec = pod.spec.as_ref();
    for (begin, map) in [
        ("metadata.labels['", pod.labels()),
        ("metadata.annotations['", pod.annotations()),
    ] {
        let key = path
            .strip_prefix(begin)
            .and_then(|rest| rest.strip_suffix("']"));
        if let Some(key) = key {
            return Ok(map.get(key).cloned().unwrap_or_default());
        }
    }
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => place.node.clone(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => place.host.clone(),
        "status.podIP" | "status.podIPs" => place.address.clone(),
        other => bail!("unknown field {other}"),
    })
}

/// A limit or request in whole units: processors rounded up, bytes. Divisors are not known here.
fn resource(container: &Container, selector: &ResourceFieldSelector) -> Result<String> {
    let resources = container.resources.clone().unwrap_or_default();
    let (kind, name) = selector
        .resource
        .split_once('.')
        .context("limits.NAME or requests.NAME")?;
    let of = if kind == "limits" {
        resources.limits
    } else {
        resources.requests
    };
    let quantity = of.and_then(|of| of.get(name).cloned());
    let quantity = quantity
        .with_context(|| format!("no {}", selector.resource))?
        .0;
    let digits = quantity
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(quantity.len());
    let number: u64 = quantity[..digits].parse()?;
    let value = match &quantity[digits..] {
        "" => number,
        "m" => number.div_ceil(1000),
        "Ki" => number << 10,
        "Mi" => number << 20,
        "Gi" => number << 30,
        unit => bail!("unknown unit {unit}"),
    };
    Ok(value.to_string())
}

/// The variables by which pods have found services since before there was DNS; those of the API server always.
async fn services(client: &Client, namespace: &str, links: bool) -> Result<Variables> {
    let mut variables = Variables::from([
        (
            "KUBERNETES_SERVICE_HOST".to_owned(),
            super::API_SERVER.to_owned(),
        ),
        ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
    ]);
    if !links {
        return Ok(variables);
    }
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    for service in services.list(&ListParams::default()).await? {
        let name = service.name_any().to_uppercase().replace('-', "_");
        let Some(spec) = service.spec else { continue };
        let address = spec.cluster_ip.filter(|ip| !ip.is_empty() && ip != "None");
        let port = spec.ports.and_then(|ports| ports.into_iter().next());
        if let (Some(address), Some(port)) = (address, port) {
            let (protocol, port) = (port.protocol.unwrap_or_default(), port.port);
            let url = format!("{}://{address}:{port}", protocol.to_lowercase());
            variables.insert(format!("{name}_SERVICE_HOST"), address);
            variables.insert(format!("{name}_SERVICE_PORT"), port.to_string());
            variables.insert(format!("{name}_PORT"), url);
        }
    }
    Ok(variables)
}

/// The entries of a Secret; none when it may be absent and is.
pub(super) async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Variables> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await?;
    if found.is_none() && optional != Some(true) {
        bail!("secret \"{name}\" not found");
    }
    let data = found.and_then(|secret| secret.data).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(data
        .into_iter()
        .map(|(key, value)| (key, text(&value.0)))
        .collect())
}

/// The entries of a `ConfigMap`; none when it may be absent and is.
pub(super) async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Variables> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await?;
    if found.is_none() && optional != Some(true) {
        bail!("configmap \"{name}\" not found");
    }
    Ok(found.and_then(|map| map.data).unwrap_or_default())
}

/// Replaces `$(NAME)` by what is known under that name, else leaves it; `$$` is a dollar.
pub(super) fn expand(text: &str, variables: &Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((value, after)) =
            name.and_then(|(name, after)| Some((variables.get(name)?, after)))
        {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_expanded_as_kubernetes_does() {
        let variables = Variables::from([("A".to_owned(), "1$(A)".to_owned())]);
        for (text, expected) in [
            ("$(A)", "1$(A)"),
            ("x-$(A)-$(B)-y", "x-1$(A)-$(B)-y"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1$(A)"),
            ("$A$", "$A$"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
