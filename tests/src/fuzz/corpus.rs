//! Specimens of files, made by the programs that make them for people too.

use std::path::Path;
use std::process::Command;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use keyfile::tss2::{self, Kind, TssKey};
use tpm::{AuthorityKey, Name, PcrSelection, PcrValues, Policy, PolicyStep};

/// What opens the encrypted ones. They ask for little work, so that many are read in a second.
pub(super) const PASSPHRASE: &[u8] = b"geheim";

const MAKE: &str = "
    for curve in P-256 P-521; do
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:$curve -out $curve.pem
    done
    cp P-256.pem key.pem
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
    openssl genpkey -algorithm ED25519 -out foreign.pem
    openssl rsa -in rsa.pem -traditional -out pkcs1.pem
    openssl rsa -in rsa.pem -traditional -outform DER -out pkcs1.der
    openssl ec -in key.pem -out sec1.pem
    openssl ec -in key.pem -outform DER -out sec1.der
    openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out pkcs8.der
    openssl pkcs8 -topk8 -in key.pem -iter 1 -passout pass:geheim -out pbes2.pem
    openssl pkcs8 -topk8 -in key.pem -iter 1 -v2 des3 -passout pass:geheim -outform DER -out pbes2.der
    openssl pkcs8 -topk8 -in key.pem -scrypt -scrypt_N 2 -scrypt_r 1 -scrypt_p 1 -passout pass:geheim -out scrypt.pem
    openssl pkcs8 -topk8 -in key.pem -iter 1 -v1 PBE-SHA1-3DES -passout pass:geheim -out pbe.pem
    openssl pkey -in key.pem -traditional -aes-256-cbc -passout pass:geheim -out old.pem
    openssl req -x509 -key key.pem -subj /CN=me/O=us -days 9 -out me.pem
    openssl x509 -in me.pem -outform DER -out me.der
    openssl x509 -in me.pem -addtrust serverAuth -out trusted.pem
    cat me.pem key.pem >both.pem
    openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey key.pem -in me.pem -name me -passout pass: -out clear.p12
    openssl pkcs12 -export -iter 1 -maciter -inkey key.pem -in me.pem -passout pass:geheim -out new.p12
    openssl pkcs12 -export -iter 1 -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -inkey key.pem -in me.pem \
        -passout pass:geheim -out old.p12
    openssl pkey -in rsa.pem -pubout -out public.pem
    openssl pkey -in key.pem -pubout -outform DER -out public.der
    ssh-keygen -q -t ecdsa -N '' -C me -f ssh-ec
    ssh-keygen -q -t rsa -b 2048 -N '' -f ssh-rsa
    ssh-keygen -q -t ecdsa -a 1 -N geheim -f ssh-locked
    printf 00112233445566778899aabbccddeeff >secret.hex
";

/// Files with keys and certificates.
pub(super) fn key_files(place: &Path) -> Vec<Vec<u8>> {
    let place = place.join("specimens");
    std::fs::create_dir(&place).unwrap();
    let output = Command::new("sh").args(["-ec", MAKE]).current_dir(&place).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut paths: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut files: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for key in tss_keys() {
        files.extend([key.to_pem().into_bytes(), key.to_der()]);
    }
    files
}

fn point() -> EcPublic {
    EcPublic::of_private(Curve::P256, &Secret::copy_from(&[7; 32])).unwrap()
}

/// Public areas of all kinds: TPM2B_PUBLIC.
pub(super) fn public_areas() -> Vec<Vec<u8>> {
    let authority = AuthorityKey::from_ec(&point()).unwrap();
    let rsa = base::rsa::RsaPublic::new([&[0xc1][..], &[0x5b; 255]].concat(), [1, 0, 1]).unwrap();
    let parents = [tpm::PublicArea::recovery_rsa(&rsa), tpm::PublicArea::recovery_ecc(&point())];
    let mut areas: Vec<Vec<u8>> = parents.into_iter().map(|area| area.unwrap().marshal().unwrap()).collect();
    for key in [authority, AuthorityKey::from_rsa(&rsa).unwrap()] {
        areas.push([&[0, 0], key.public()].concat());
    }
    // A sealed object; AES; HMAC.
    areas.push([&[0, 14, 0, 8, 0, 11, 0, 0, 0, 0x52, 0, 0, 0, 0x10][..], &[0, 32], &[9; 32]].concat());
    areas.push([&[0, 20, 0, 0x25, 0, 11, 0, 6, 0, 0x72, 0, 0, 0, 6, 1, 0, 0, 0x43][..], &[0, 32], &[9; 32]].concat());
    areas.push([&[0, 18, 0, 8, 0, 11, 0, 4, 0, 0x72, 0, 0, 0, 5, 0, 11][..], &[0, 32], &[9; 32]].concat());
    for area in &mut areas {
        let len = (area.len() - 2) as u16;
        area[..2].copy_from_slice(&len.to_be_bytes());
    }
    areas
}

pub(super) fn policies() -> Vec<Policy> {
    let selection: PcrSelection = "sha256:4,11".parse().unwrap();
    let values = PcrValues::from([(4, vec![4; 32]), (11, vec![11; 32])]);
    let authority = AuthorityKey::from_ec(&point()).unwrap();
    let name = authority.name().clone();
    let pcr = PolicyStep::pcr(selection, &values).unwrap();
    let approved = PolicyStep::Authorize { key: authority, policy_ref: vec![1, 2] };
    let steps = [
        vec![pcr.clone(), PolicyStep::AuthValue],
        vec![approved, pcr.clone(), PolicyStep::AuthValue],
        vec![PolicyStep::CommandCode(0x15d), PolicyStep::Secret { object: name.clone() }],
        vec![PolicyStep::AuthValue, PolicyStep::DuplicationSelect { new_parent: name, object: None }],
    ];
    let mut policies: Vec<Policy> = steps.into_iter().map(|steps| Policy::new(steps).unwrap()).collect();
    policies.push(Policy::any_of(policies[..2].to_vec()).unwrap());
    policies
}

fn tss_keys() -> Vec<TssKey> {
    let areas = public_areas();
    let plain = TssKey {
        kind: Kind::Loadable,
        empty_auth: true,
        policy: Vec::new(),
        auth_policies: Vec::new(),
        secret: None,
        description: Some("a key".into()),
        rsa_parent: false,
        parent: tss2::OWNER,
        public: areas[3].clone(),
        private: [&[0, 64][..], &[1; 64]].concat(),
    };
    let policy = &policies()[0];
    let commands = policy.to_commands().unwrap().into_iter();
    let commands: Vec<tss2::PolicyCommand> =
        commands.map(|command| tss2::PolicyCommand { code: command.code, parameters: command.parameters }).collect();
    let mut bound = areas[2].clone();
    // authPolicy, where there was none.
    bound.splice(10..12, [&[0, 32][..], policy.digest()].concat());
    let len = (bound.len() - 2) as u16;
    bound[..2].copy_from_slice(&len.to_be_bytes());
    vec![
        TssKey { kind: Kind::Importable, secret: Some(vec![0, 4, 1, 2, 3, 4]), parent: 0x8100_0001, ..plain.clone() },
        TssKey { auth_policies: vec![commands.clone(), commands.clone()], ..plain.clone() },
        TssKey { policy: commands, public: bound, ..plain.clone() },
        plain,
    ]
}

/// A file of approvals as systemd-measure writes it.
pub(super) fn approvals() -> Vec<Vec<u8>> {
    let entry = |pcrs: &str, more: &str| {
        let hash = Hash::Sha256.digest(&[pcrs.as_bytes()]);
        let digest = crate::call::hex(&hash);
        format!("{{\"pcrs\": {pcrs}, \"pkfp\": \"{digest}\", \"pol\": \"{digest}\", \"sig\": \"AgICAgIC\"{more}}}")
    };
    let name = format!("000b{}", "01".repeat(32));
    let limit = format!(", \"limit\": {{\"counter\": {{\"index\": 25165824, \"name\": \"{name}\"}}, \"most\": 7}}");
    vec![
        format!("{{\"sha256\": [{}, {}], \"sha1\": []}}", entry("[4, 11]", ""), entry("[0]", "")).into_bytes(),
        format!("{{\"sha384\": [{}]}}", entry("[23]", &limit)).into_bytes(),
    ]
}

pub(super) fn configurations() -> Vec<Vec<u8>> {
    vec![
        b"store = \"/var/lib/x\"\ntcti = \"swtpm:path=/run/x\"\nbus-protection = \"off\"\nidle-ms = 5\n".to_vec(),
        b"# of the machine\nempty-slot = \"on\"\napprovals = [\"/a\", '/b.json', \"\"\"/c\"\"\"]\n".to_vec(),
    ]
}

/// Names of things, one in each.
pub(super) fn names() -> Vec<Vec<u8>> {
    [
        "pkcs11:token=the%20boss;object=approver;type=private",
        "pkcs11:id=%01%fF;token=t",
        "swtpm:host=localhost,port=2321",
        "swtpm:path=/run/swtpm.sock",
        "device:/dev/tpmrm0",
        "cmd:nc -U /run/x",
        "sha256:0,4,7-9+11",
        "sha1:all",
        "CKA_LABEL: other\nCKA_ID: 0a0b\n0x102: [1, 2]\n",
        "{\"CKA_SIGN\": false}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// References to objects as the TPM2 Software Stack serializes them.
pub(super) fn references() -> Vec<Vec<u8>> {
    let area = &public_areas()[2];
    let name: Name = tpm::PublicArea::parse(area).unwrap().name().unwrap();
    let len = (name.as_bytes().len() as u16).to_be_bytes();
    vec![[&0x8100_0001_u32.to_be_bytes()[..], &len, name.as_bytes(), &1_u32.to_be_bytes(), area].concat()]
}
