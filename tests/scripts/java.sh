#!/usr/bin/env bash
# Says where a Java with a compiler is, and installs Debian's if there is none.
#
#   java.sh
#
# Exit status 3: there is none and none can be had; the last line says why.
set -euo pipefail

main() {
    if ! has_java; then
        ((EUID == 0)) || cannot 'there is no Java, and installing one needs root: apt-get install default-jdk-headless'
        command -v apt-get >/dev/null || cannot 'there is no Java, and this is not a Debian system: no apt-get'
        echo 'java.sh: installing default-jdk-headless' >&2
        log=$(mktemp)
        trap 'rm -f "$log"' EXIT
        export DEBIAN_FRONTEND=noninteractive
        if ! { apt-get -q update && apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends default-jdk-headless; } \
            </dev/null >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            cannot 'apt-get failed, see above'
        fi
    fi
    dirname "$(command -v javac)"
}

has_java() { command -v java >/dev/null && command -v javac >/dev/null; }

cannot() {
    echo "java.sh: $*" >&2
    exit 3
}

main
