//! The files of TLS: certificates, private keys, authorities. Each is read whole, bounded, and made into what rustls takes; what is
//! wrong is said with the file's name.
//!
//! ```text
//!   -----BEGIN CERTIFICATE-----              chain, or authorities
//!   -----BEGIN PRIVATE KEY-----              PKCS#8 ┐
//!   -----BEGIN RSA PRIVATE KEY-----          PKCS#1 ├──> key          beside others (parameters of curves), which are passed over
//!   -----BEGIN EC PRIVATE KEY-----           SEC1   ┘
//!   -----BEGIN ENCRYPTED PRIVATE KEY-----    PKCS#8 under tls-key-file-pass (PBES2)
//! ```

use crate::config::{CertificateUser, Tls, TlsIdentity};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

/// The longest file that is read: a bundle of all the web's authorities has a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of a directory of authorities that are looked at.
const FILES_MAX: usize = 10_000;

/// A file's text.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let length = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    match length {
        Ok(length) if length as u64 > FILE_BYTES_MAX => Err("longer than a megabyte".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(reason(&error)),
    }
}

/// What the system says, without the number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in PEM form in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("not in PEM form: {error}")),
    }
}

/// A certificate, taken apart.
pub(super) fn parse_certificate(certificate: &CertificateDer<'_>) -> Result<Certificate, String> {
    Certificate::from_der(certificate).map_err(|error| format!("not a certificate: {error}"))
}

/// The begin of the sections that hold a key under a password.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// The private key of a file's text.
fn private_key(text: &[u8], password: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let shown = String::from_utf8_lossy(text);
    if let Some(begin) = shown.find(ENCRYPTED) {
        let end = shown[begin..].find(ENCRYPTED_END).ok_or("its key does not end")?;
        return decrypted(&shown[begin..begin + end + ENCRYPTED_END.len()], password);
    }
    if shown.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("encrypted in the old form of OpenSSL, which is not read. `openssl pkcs8 -topk8 -v2 aes-256-cbc` makes one \
                    that is."
            .to_owned());
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| format!("no private key in PEM form in it: {error}"))
}

fn decrypted(section: &str, password: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if password.is_empty() {
        return Err("encrypted, and there is no password for it ('tls-key-file-pass')".to_owned());
    }
    let (_, document) =
        pkcs8::SecretDocument::from_pem(section).map_err(|error| format!("not in PEM form: {error}"))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| format!("encrypted in a way that is not read: {error}"))?;
    let key = encrypted.decrypt(password).map_err(|_| {
        "cannot be decrypted: the password is wrong, or the cipher is not one of PBES2 with AES".to_owned()
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// A certificate with its key; `which` names the directives for errors.
pub(super) fn identity(identity: &TlsIdentity, which: &str, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let named =
        |path: &Option<PathBuf>, what: &str| path.clone().ok_or_else(|| format!("No {which}-{what}-file configured!"));
    let certificate_file = named(&identity.certificate_file, "cert")?;
    let key_file = named(&identity.key_file, "key")?;
    let failed =
        |what: &str, path: &Path, reason: String| format!("Failed to load {what}: {}: {reason}", path.display());
    let chain = read(&certificate_file).and_then(|text| certificates(&text));
    let chain = chain.map_err(|reason| failed("certificate", &certificate_file, reason))?;
    let parsed = parse_certificate(&chain[0]).map_err(|reason| failed("certificate", &certificate_file, reason))?;
    let key = read(&key_file).and_then(|text| private_key(&text, &identity.key_password));
    let key = key.map_err(|reason| failed("private key", &key_file, reason))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| failed("private key", &key_file, error.to_string()))?;
    let public = parsed.tbs_certificate().subject_public_key_info().to_der().unwrap_or_default();
    if key.public_key().is_some_and(|key| key.as_ref() != public) {
        let reason = format!("it is not the key of the certificate in {}", certificate_file.display());
        return Err(failed("private key", &key_file, reason));
    }
    warn_of_its_age(&parsed, &certificate_file);
    Ok(CertifiedKey::new(chain, key))
}

/// Clients will refuse it; as the real server does, we serve it all the same.
fn warn_of_its_age(certificate: &Certificate, path: &Path) {
    let validity = certificate.tbs_certificate().validity();
    let now = SystemTime::now();
    if validity.not_after.to_system_time() < now {
        tracing::warn!("The certificate in {} has expired: {}", path.display(), validity.not_after);
    } else if validity.not_before.to_system_time() > now {
        tracing::warn!("The certificate in {} is not valid before {}", path.display(), validity.not_before);
    }
}

/// Those whose certificates clients may have.
pub(super) fn authorities(config: &Tls) -> Result<RootCertStore, String> {
    let failed = |path: &Path, reason: &str| {
        format!("Failed to configure CA certificate(s) file/directory: {}: {reason}", path.display())
    };
    let mut store = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        let found = read(path).and_then(|text| certificates(&text)).map_err(|reason| failed(path, &reason))?;
        for certificate in found {
            store.add(certificate).map_err(|error| failed(path, &error.to_string()))?;
        }
    }
    if let Some(directory) = &config.ca_directory {
        let entries = std::fs::read_dir(directory).map_err(|error| failed(directory, &reason(&error)))?;
        for entry in entries.take(FILES_MAX).flatten() {
            // Whatever lies beside certificates there is passed over, as OpenSSL does.
            let found = read(&entry.path()).and_then(|text| certificates(&text)).unwrap_or_default();
            store.add_parsable_certificates(found);
        }
        if store.is_empty() {
            return Err(failed(directory, "there is no certificate in it"));
        }
    }
    Ok(store)
}

/// All files that a configuration names.
pub(super) fn files(config: &Tls) -> impl Iterator<Item = &PathBuf> {
    let (own, client) = (&config.identity, &config.client_identity);
    let files = [&own.certificate_file, &own.key_file, &client.certificate_file, &client.key_file, &config.ca_file];
    files.into_iter().chain([&config.ca_directory]).flatten()
}

/// What fuzzing holds against any file: certificates and a key are made of it, or it is refused.
#[doc(hidden)]
pub fn check_material(text: &[u8]) {
    let _ = private_key(text, b"x");
    for certificate in certificates(text).unwrap_or_default() {
        let _ = RootCertStore::empty().add(certificate.clone());
        for from in [CertificateUser::CommonName, CertificateUser::Uri] {
            let _ = super::user::name(&certificate, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----";

    fn openssl(arguments: &[&str]) -> Option<String> {
        let output = Command::new("openssl").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).expect("PEM"))
    }

    #[test]
    fn keys_of_all_forms_are_read_and_a_wrong_password_is_told() {
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        assert!(key.contains(PLAIN) && private_key(key.as_bytes(), b"").is_ok());
        let directory = std::env::temp_dir().join(format!("torc-keys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("key");
        std::fs::write(&file, &key).expect("a file");
        let path = file.to_str().expect("text");
        let forms = [
            (&["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:1234", "-in", path][..], "1234"),
            (&["pkcs8", "-topk8", "-v2", "aes-128-cbc", "-scrypt", "-passout", "pass:x", "-in", path], "x"),
            (&["ec", "-in", path], ""),
        ];
        for (arguments, password) in forms {
            let Some(text) = openssl(arguments) else {
                println!("no openssl command: {arguments:?} is not tried");
                continue;
            };
            let found = private_key(text.as_bytes(), password.as_bytes());
            assert!(found.is_ok(), "{arguments:?}: {found:?}");
            if !password.is_empty() {
                assert!(private_key(text.as_bytes(), b"").expect_err("no password").contains("tls-key-file-pass"));
                assert!(private_key(text.as_bytes(), b"wrong").expect_err("wrong").contains("password is wrong"));
            }
        }
        let _ = std::fs::remove_dir_all(&directory);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n";
        assert!(private_key(old.as_bytes(), b"x").expect_err("not read").contains("pkcs8 -topk8"));
    }

    proptest! {
        /// Whatever a file holds, it is read or refused.
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            cut in 0_usize..400,
            changed in any::<u8>(),
        ) {
            let issued = rcgen::generate_simple_self_signed(vec!["a.b".to_owned()]).expect("a certificate");
            for text in [issued.cert.pem(), issued.signing_key.serialize_pem()] {
                let mut damaged = text.into_bytes();
                let at = cut % damaged.len();
                damaged[at] = changed;
                for input in [&damaged[..], &damaged[..at], &bytes] {
                    let _ = private_key(input, b"password");
                    if let Ok(found) = certificates(input) {
                        found.iter().for_each(|certificate| drop(parse_certificate(certificate)));
                    }
                }
            }
            let mut section = format!("{ENCRYPTED}\n").into_bytes();
            section.extend_from_slice(&bytes);
            section.extend_from_slice(ENCRYPTED_END.as_bytes());
            prop_assert!(private_key(&section, b"password").is_err());
        }
    }
}
