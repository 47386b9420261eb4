#!/usr/bin/env bash
# A Debian forky tree with OpenSSL 3.6, pkcs11-provider, and programs that bring an allocator of their own: HAProxy, BIND.
#
#   forky.sh [DIRECTORY]
#
# As trixie.sh, which makes it. Exit status 3: this machine cannot have one; the last line says why.
TPM2_CRYPTOKI_SUITE=forky-clients exec "$(dirname "${BASH_SOURCE[0]}")/trixie.sh" "$@"
