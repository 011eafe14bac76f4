//! Authorities and the certificates they sign, as PEM files for servers and clients.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// An authority with certificates it signed, in a folder: its own is `ca.crt`.
pub struct Authority {
    folder: PathBuf,
    /// Removes the folder when this is dropped, unless it is somebody else's.
    owned: Option<TempDir>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// An authority of this name with a folder of its own.
    pub fn new(name: &str) -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let mut authority = Self::in_folder(name, folder.path());
        authority.owned = Some(folder);
        authority
    }

    /// An authority whose files lie in a folder of somebody else.
    pub fn in_folder(name: &str, folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = key();
        let certificate = params.self_signed(&key).expect("a valid request");
        let authority = Self {
            folder: folder.to_owned(),
            owned: None,
            issuer: Issuer::new(params, key),
        };
        authority.write("ca.crt", &certificate.pem());
        authority
    }

    /// Its own certificate, PEM.
    ///
    /// # Panics
    /// When its file is gone.
    pub fn certificate(&self) -> String {
        std::fs::read_to_string(self.folder.join("ca.crt")).expect("it was written first")
    }

    /// The path of a file, as text for URLs and settings.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn file(&self, name: &str) -> String {
        let path = self.folder.join(name).into_os_string();
        path.into_string()
            .expect("temporary folders have UTF-8 names")
    }

    /// Signs a certificate for a host: `NAME.crt`, `NAME.key`, and both in `NAME.pem`.
    ///
    /// # Panics
    /// When the host is not a name.
    pub fn sign(&self, name: &str, host: &str) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a valid name");
        params.distinguished_name.push(DnType::CommonName, name);
        let Identity { certificate, key } = self.issue(&params);
        self.write(&format!("{name}.crt"), &certificate);
        self.write(&format!("{name}.key"), &key);
        self.write(&format!("{name}.pem"), &format!("{certificate}{key}"));
    }

    /// Issues a certificate as `params` say, into no file.
    ///
    /// # Panics
    /// When they ask for what no certificate can be.
    pub fn issue(&self, params: &CertificateParams) -> Identity {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer);
        Identity {
            certificate: certificate.expect("a valid request").pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes a file beside the certificates.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).expect("the folder is writable");
    }
}

/// A new key.
pub fn key() -> KeyPair {
    KeyPair::generate().expect("the system has random numbers")
}
