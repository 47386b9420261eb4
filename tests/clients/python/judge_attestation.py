"""What verifiers of WebAuthn say of an attestation: py_webauthn and Yubico's fido2.

    judge_attestation.py OBJECT CLIENT_DATA ROOT

Each prints a line: its name, and "good" or "refused". Whether that is right, the test knows.
"""

import hashlib
import sys


def with_py_webauthn(attestation, client_data, root):
    from webauthn.helpers import parse_attestation_object
    from webauthn.registration.formats.tpm import verify_tpm

    parsed = parse_attestation_object(attestation)
    key = parsed.auth_data.attested_credential_data.credential_public_key
    return verify_tpm(
        attestation_statement=parsed.att_stmt,
        attestation_object=attestation,
        client_data_json=client_data,
        credential_public_key=key,
        pem_root_certs_bytes=[root],
    )


def with_fido2(attestation, client_data, root):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from fido2.attestation.base import verify_x509_chain
    from fido2.attestation.tpm import TpmAttestation
    from fido2.webauthn import AttestationObject

    parsed = AttestationObject(attestation)
    digest = hashlib.sha256(client_data).digest()
    result = TpmAttestation().verify(parsed.att_stmt, parsed.auth_data, digest)
    verify_x509_chain([*result.trust_path, x509.load_pem_x509_certificate(root).public_bytes(Encoding.DER)])
    return True


def main():
    attestation, client_data, root = (open(name, "rb").read() for name in sys.argv[1:])
    for verifier in with_py_webauthn, with_fido2:
        try:
            word = "good" if verifier(attestation, client_data, root) else "refused"
        except Exception as error:
            print(verifier.__name__, repr(error), file=sys.stderr)
            word = "refused"
        print(f"{verifier.__name__}: {word}")


main()
