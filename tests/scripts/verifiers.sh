#!/usr/bin/env bash
# A Python with verifiers of WebAuthn attestations: py_webauthn, and Yubico's fido2. As python.sh, in tests/.cache/verifiers.
set -euo pipefail

readonly HERE=$(dirname "${BASH_SOURCE[0]}")

export TPM2_CRYPTOKI_PYTHON_PACKAGES='webauthn==3.0.1 fido2==2.2.1 cryptography'
exec "$HERE/python.sh" "${TPM2_CRYPTOKI_VERIFIERS:-$HERE/../.cache/verifiers}"
