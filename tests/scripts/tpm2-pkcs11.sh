#!/usr/bin/env bash
# tpm2-pkcs11 of this machine's Debian: its module and its tpm2_ptool, in a directory and not installed, where every program
# that uses p11-kit would load it.
#
#   tpm2-pkcs11.sh [DIRECTORY]
#
# Unpacks the packages in the directory, TPM2_CRYPTOKI_PEER or tests/.cache/tpm2-pkcs11 if none is given, unless it was done.
# What is said goes to standard error, the directory to standard output: `bin/tpm2_ptool` and `libtpm2_pkcs11.so` are in it.
#
# Exit status 3: this machine cannot have one; the last line says why.
set -euo pipefail

readonly PACKAGES=(libtpm2-pkcs11-1 python3-tpm2-pkcs11-tools)
# A change here makes another directory.
readonly RECIPE=1

main() {
    local place=${1:-${TPM2_CRYPTOKI_PEER:-$(dirname "${BASH_SOURCE[0]}")/../.cache/tpm2-pkcs11}}
    mkdir -p "$(dirname "$place")"
    place=$(realpath -m "$place")
    if ! finished "$place"; then
        exec 9>"$place.lock"
        flock 9
        finished "$place" || make_place "$place"
    fi
    echo "$place"
}

finished() { [[ -e $1/.finished && $(<"$1/.finished") == "$RECIPE" ]]; }

make_place() {
    command -v apt-get >/dev/null || cannot 'this is not a Debian system: no apt-get'
    # Debian's own Python: what the packages need is there.
    /usr/bin/python3 -c 'import tpm2_pytss, yaml, cryptography, pyasn1_modules' 2>/dev/null ||
        cannot 'packages are missing: apt-get install python3-tpm2-pytss python3-yaml python3-cryptography python3-pyasn1-modules'
    log=$(mktemp)
    draft=$(mktemp -d "$1.XXXXXX")
    trap 'rm -rf "$draft" "$log"' EXIT
    chmod 755 "$draft"
    say "unpacking ${PACKAGES[*]} in $1"
    mkdir "$draft/packages" "$draft/bin"
    (cd "$draft/packages" && quietly apt-get -q download "${PACKAGES[@]}")
    local package
    for package in "$draft"/packages/*.deb; do
        quietly dpkg-deb --extract "$package" "$draft/tree"
    done
    local module
    module=$(find "$draft/tree" -name 'libtpm2_pkcs11.so.*' -type f)
    [[ -n $module ]] || cannot 'there is no module in the packages'
    ln -s "${module#"$draft"/}" "$draft/libtpm2_pkcs11.so"
    cat >"$draft/bin/tpm2_ptool" <<'END'
#!/bin/sh
here=$(dirname "$0")/..
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here/tree/usr/lib/python3/dist-packages exec /usr/bin/python3 -c '
import sys
sys.argv[0] = "tpm2_ptool"
from tpm2_pkcs11.tpm2_ptool import main
main()' "$@"
END
    chmod 755 "$draft/bin/tpm2_ptool"
    echo "$RECIPE" >"$draft/.finished"
    rm -rf "$1"
    mv "$draft" "$1"
}

quietly() {
    "$@" </dev/null >"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    cannot "$* failed, see above"
}

say() { echo "tpm2-pkcs11.sh: $*" >&2; }

cannot() {
    say "$*"
    exit 3
}

main "$@"
