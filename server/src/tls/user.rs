//! The user that a client's certificate names (`tls-auth-clients-user`).

use super::material::parse_certificate;
use crate::config::CertificateUser;
use rustls::pki_types::CertificateDer;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Its name; none if the certificate has no such field.
pub(super) fn name(certificate: &CertificateDer<'_>, from: CertificateUser) -> Option<String> {
    let certificate = parse_certificate(certificate).ok()?;
    let fields = certificate.tbs_certificate();
    match from {
        CertificateUser::Off => None,
        CertificateUser::CommonName => {
            let found = fields.subject().common_name().ok()??;
            Some(found.value().into_owned())
        }
        CertificateUser::Uri => {
            let (_, SubjectAltName(names)) = fields.get_extension().ok()??;
            names.into_iter().find_map(|name| match name {
                GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
                _ => None,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn names_come_from_the_field_that_is_asked_for() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "bob");
        params.subject_alt_names.push(SanType::URI("urn:torc:alice".try_into().expect("ascii")));
        let certificate = params.self_signed(&key).expect("a certificate");
        assert_eq!(name(certificate.der(), CertificateUser::CommonName).as_deref(), Some("bob"));
        assert_eq!(name(certificate.der(), CertificateUser::Uri).as_deref(), Some("urn:torc:alice"));
        assert_eq!(name(certificate.der(), CertificateUser::Off), None);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let bare = params.self_signed(&key).expect("a certificate");
        assert_eq!(name(bare.der(), CertificateUser::CommonName), None);
        assert_eq!(name(bare.der(), CertificateUser::Uri), None);
    }
}
