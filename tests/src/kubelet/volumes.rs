//! The volumes of a pod as folders of this machine.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, PersistentVolume, PersistentVolumeClaim, Pod,
    ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::environment::{self, Place, Variables};

/// What prepares a pod's volumes.
pub(super) struct Volumes<'a> {
    pub(super) client: &'a Client,
    pub(super) pod: &'a Pod,
    pub(super) place: &'a Place,
    /// The pod's folder.
    pub(super) folder: &'a Path,
    /// Where claims keep their data, beyond the pod.
    pub(super) claims: &'a Path,
}

/// Volume name to the folder that holds it, and whether it may be written to.
pub(super) type Folders = BTreeMap<String, (PathBuf, bool)>;

impl Volumes<'_> {
    /// Makes or finds every volume; an error is for the next try.
    pub(super) async fn prepare(&self) -> Result<Folders> {
        let mut folders = Folders::new();
        let volumes = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_ref());
        for volume in volumes.into_iter().flatten() {
            let folder = self.one(volume).await;
            let folder = folder.with_context(|| format!("volume \"{}\"", volume.name))?;
            folders.insert(volume.name.clone(), folder);
        }
        Ok(folders)
    }

    async fn one(&self, volume: &Volume) -> Result<(PathBuf, bool)> {
        if let Some(host) = &volume.host_path {
            return Ok((PathBuf::from(&host.path), true));
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            let writable = claim.read_only != Some(true);
            return Ok((self.claim(&claim.claim_name).await?, writable));
        }
        let folder = self.folder.join("volumes").join(&volume.name);
        std::fs::create_dir_all(&folder)?;
        if volume.empty_dir.is_some() {
            open_to_all(&folder)?;
            return Ok((folder, true));
        }
        let files = if let Some(files) = self.live(volume).await? {
            files
        } else if let Some(projected) = &volume.projected {
            let mut files = Variables::new();
            for source in projected.sources.iter().flatten() {
                files.extend(self.projection(source).await?);
            }
            files
        } else {
            bail!("a kind of volume that is not known here");
        };
        write(&folder, &files)?;
        Ok((folder, false))
    }

    /// What a volume holds that follows what it is made of.
    async fn live(&self, volume: &Volume) -> Result<Option<Variables>> {
        let files = if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let entries = self.secret(name, secret.optional).await?;
            chosen(entries, secret.items.as_deref())?
        } else if let Some(map) = &volume.config_map {
            let entries = self.config_map(&map.name, map.optional).await?;
            chosen(entries, map.items.as_deref())?
        } else if let Some(downward) = &volume.downward_api {
            self.fields(downward.items.as_deref())?
        } else {
            return Ok(None);
        };
        Ok(Some(files))
    }

    /// Brings volumes up to date; those of several sources stay as they are.
    pub(super) async fn refresh(&self) -> Result<()> {
        let spec = self.pod.spec.as_ref();
        let volumes = spec.and_then(|spec| spec.volumes.as_ref());
        for volume in volumes.into_iter().flatten() {
            let files = self.live(volume).await;
            let files = files.with_context(|| format!("volume \"{}\"", volume.name))?;
            if let Some(files) = files {
                write(&self.folder.join("volumes").join(&volume.name), &files)?;
            }
        }
        Ok(())
    }

    async fn projection(&self, source: &VolumeProjection) -> Result<Variables> {
        if let Some(token) = &source.service_account_token {
            return self.token(token).await;
        }
        if let Some(map) = &source.config_map {
            let entries = self.config_map(&map.name, map.optional).await?;
            return chosen(entries, map.items.as_deref());
        }
        if let Some(secret) = &source.secret {
            let entries = self.secret(&secret.name, secret.optional).await?;
            return chosen(entries, secret.items.as_deref());
        }
        if let Some(downward) = &source.downward_api {
            return self.fields(downward.items.as_deref());
        }
        bail!("a kind of projection that is not known here");
    }

    /// A token of the pod's account, bound to the pod: it ends with it.
    async fn token(&self, wanted: &ServiceAccountTokenProjection) -> Result<Variables> {
        let spec = self.pod.spec.as_ref().context("a pod has a spec")?;
        let account = spec.service_account_name.as_deref().unwrap_or("default");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: wanted.audience.clone().into_iter().collect(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(self.pod.name_any()),
                    uid: self.pod.uid(),
                }),
                expiration_seconds: wanted.expiration_seconds,
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace());
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await?;
        let token = answer.status.context("a token was asked for")?.token;
        Ok(Variables::from([(wanted.path.clone(), token)]))
    }

    /// The folder of a claim. A volume is made for one that has none, and bound by Kubernetes.
    async fn claim(&self, name: &str) -> Result<PathBuf> {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &self.namespace());
        let claim = claims.get(name).await?;
        let spec = claim.spec.clone().context("a claim has a spec")?;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let phase = claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if let (Some(volume), Some("Bound")) = (&spec.volume_name, phase) {
            let volume = volumes.get(volume).await?;
            let path = volume.spec.and_then(|spec| spec.host_path);
            return Ok(PathBuf::from(path.context("a volume of this bed")?.path));
        }
        let uid = claim.uid().context("a claim has a uid")?;
        let folder = self.claims.join(format!("pvc-{uid}"));
        std::fs::create_dir_all(&folder)?;
        open_to_all(&folder)?;
        let requests = spec.resources.and_then(|resources| resources.requests);
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": format!("pvc-{uid}")},
            "spec": {
                "capacity": requests.unwrap_or_default(),
                "accessModes": spec.access_modes,
                "storageClassName": spec.storage_class_name.unwrap_or_default(),
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": folder},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name,
                    "namespace": self.namespace(), "uid": uid},
            },
        }))?;
        match volumes.create(&PostParams::default(), &volume).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        bail!("claim \"{name}\" is not bound yet");
    }

    fn fields(&self, items: Option<&[DownwardAPIVolumeFile]>) -> Result<Variables> {
        let items = items.unwrap_or_default().iter();
        let values = items.map(|item| {
            let selector = item
                .field_ref
                .as_ref()
                .context("only fields are known here")?;
            let value = environment::field(self.pod, self.place, selector)?;
            Ok((item.path.clone(), value))
        });
        values.collect()
    }

    async fn secret(&self, name: &str, optional: Option<bool>) -> Result<Variables> {
        environment::secret(self.client, &self.namespace(), name, optional).await
    }

    async fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Variables> {
        environment::config_map(self.client, &self.namespace(), name, optional).await
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }
}

/// Where a container sees which volumes.
pub(super) fn mounts(
    container: &Container,
    folders: &Folders,
    variables: &Variables,
) -> Result<Vec<(PathBuf, String, bool)>> {
    let mounts = container.volume_mounts.iter().flatten();
    let placed = mounts.map(|mount| {
        let (folder, writable) = folders
            .get(&mount.name)
            .with_context(|| format!("no volume is called {}", mount.name))?;
        let below = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => environment::expand(path, variables),
            (None, None) => String::new(),
        };
        let source = inside(folder, &below)?;
        if *writable && !source.exists() {
            std::fs::create_dir_all(&source)?;
            open_to_all(&source)?;
        }
        let writable = *writable && mount.read_only != Some(true);
        Ok((source, mount.mount_path.clone(), writable))
    });
    placed.collect()
}

/// The entries that are wanted, under the paths that are wanted; all when nothing is said.
fn chosen(entries: Variables, items: Option<&[KeyToPath]>) -> Result<Variables> {
    let Some(items) = items else {
        return Ok(entries);
    };
    let paths = items.iter().map(|item| {
        let value = entries.get(&item.key);
        let value = value.with_context(|| format!("references non-existent key: {}", item.key))?;
        Ok((item.path.clone(), value.clone()))
    });
    paths.collect()
}

/// Each file as a whole: who reads one while it changes reads what it was or what it is.
fn write(folder: &Path, files: &Variables) -> Result<()> {
    for (path, content) in files {
        let file = inside(folder, path)?;
        if std::fs::read(&file).is_ok_and(|now| now == content.as_bytes()) {
            continue;
        }
        std::fs::create_dir_all(file.parent().context("it lies in the folder")?)?;
        let new = folder.with_extension("new");
        std::fs::write(&new, content)?;
        std::fs::rename(&new, &file)?;
    }
    Ok(())
}

fn inside(folder: &Path, path: &str) -> Result<PathBuf> {
    let normal = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    ensure!(Path::new(path).components().all(normal), "{path} leads out");
    Ok(folder.join(path))
}

fn open_to_all(folder: &Path) -> Result<()> {
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o777),
    )?)
}
