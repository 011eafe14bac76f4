//! The certificates and keys that the authority of a control plane gives out.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};

use crate::certificates::{Authority, Identity, key};

/// An authority whose files lie in a folder: `ca.crt`, and the keys `accounts.key` and `accounts.pub` of tokens of
/// ServiceAccounts.
pub(super) fn authority(folder: &Path) -> Authority {
    let authority = Authority::in_folder("celeriac tests", folder);
    let accounts = key();
    authority.write("accounts.key", &accounts.serialize_pem());
    authority.write("accounts.pub", &accounts.public_key_pem());
    authority
}

/// Makes `api.crt` and `api.key`: the API server under every name that clients and pods use.
pub(super) fn serve(authority: &Authority, address: IpAddr, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("host names are valid");
    params.subject_alt_names.push(SanType::IpAddress(address));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let identity = authority.issue(&params);
    authority.write("api.crt", &identity.certificate);
    authority.write("api.key", &identity.key);
}

/// A client certificate: user and group, as Kubernetes reads them from it.
pub(super) fn client(authority: &Authority, user: &str, group: &str) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
    params.distinguished_name.push(DnType::CommonName, user);
    params
        .distinguished_name
        .push(DnType::OrganizationName, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    authority.issue(&params)
}
