#!/usr/bin/env bash
# A Python with PKCS#11 clients: python-pkcs11, PyKCS11, and `cryptography` to judge what they bring.
#
#   python.sh [DIRECTORY]
#
# Makes a virtual environment in the directory, TPM2_CRYPTOKI_PYTHON or tests/.cache/python if none is given, unless it is
# there. What is said goes to standard error, the path of the Python to standard output.
#
# Exit status 3: this machine cannot have one; the last line says why.
set -euo pipefail

# Those that the programs in tests/clients/python are written for. A change here makes another environment.
read -ra PACKAGES <<<"${TPM2_CRYPTOKI_PYTHON_PACKAGES:-python-pkcs11==0.10.1 PyKCS11==1.5.20 cryptography}"
readonly PACKAGES

main() {
    local place=${1:-${TPM2_CRYPTOKI_PYTHON:-$(dirname "${BASH_SOURCE[0]}")/../.cache/python}}
    mkdir -p "$(dirname "$place")"
    place=$(realpath -m "$place")
    if ! finished "$place"; then
        exec 9>"$place.lock"
        flock 9
        finished "$place" || make_place "$place"
    fi
    echo "$place/bin/python"
}

finished() { [[ -e $1/.finished && $(<"$1/.finished") == "${PACKAGES[*]}" ]] && "$1/bin/python" -c '' 2>/dev/null; }

# A virtual environment knows its own path, so it is made in its place, and is one when the file says so.
make_place() {
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # Debian has the part of Python that makes environments in a package of its own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_python
    say "making a Python with ${PACKAGES[*]} in $1"
    rm -rf "$1"
    quietly python3 -m venv "$1"
    # Only what is built already: building them needs compilers and headers that a machine may not have.
    quietly "$1/bin/python" -m pip install --quiet --only-binary :all: "${PACKAGES[@]}"
    echo "${PACKAGES[*]}" >"$1/.finished"
}

install_python() {
    ((EUID == 0)) || cannot 'there is no Python that makes environments, and installing one needs root: apt-get install python3-venv'
    command -v apt-get >/dev/null || cannot 'there is no Python that makes environments, and this is not a Debian system: no apt-get'
    say 'installing python3-venv'
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get -q update
    quietly apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends python3-venv
}

quietly() {
    "$@" </dev/null >"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    cannot "$* failed, see above"
}

say() { echo "python.sh: $*" >&2; }

cannot() {
    say "$*"
    exit 3
}

main "$@"
