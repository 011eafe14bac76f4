//! The authority of a control plane, and the certificates and keys it gives out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// An authority whose files lie in a folder.
pub(super) struct Authority {
    folder: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// Makes one, with `ca.crt`, and the keys `accounts.key` and `accounts.pub` of tokens of ServiceAccounts.
    pub(super) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params
            .distinguished_name
            .push(DnType::CommonName, "celeriac tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = key();
        let certificate = params.self_signed(&key).expect("a valid request").pem();
        let authority = Self {
            folder: folder.to_owned(),
            certificate,
            issuer: Issuer::new(params, key),
        };
        authority.write("ca.crt", &authority.certificate);
        let accounts = self::key();
        authority.write("accounts.key", &accounts.serialize_pem());
        authority.write("accounts.pub", &accounts.public_key_pem());
        authority
    }

    /// Its certificate, PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Makes `api.crt` and `api.key`: the API server under every name that clients and pods use.
    pub(super) fn serve(&self, address: IpAddr, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("host names are valid");
        params.subject_alt_names.push(SanType::IpAddress(address));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let identity = self.sign(&params);
        self.write("api.crt", &identity.certificate);
        self.write("api.key", &identity.key);
    }

    /// A client certificate: user and group, as Kubernetes reads them from it.
    pub(super) fn client(&self, user: &str, group: &str) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.distinguished_name.push(DnType::CommonName, user);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// The path of one of its files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer);
        Identity {
            certificate: certificate.expect("a valid request").pem(),
            key: key.serialize_pem(),
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).expect("a file in a folder of our own");
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has random numbers")
}
