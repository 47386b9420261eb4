#!/usr/bin/env bash
# Installs the Debian packages that `make build`, `make demo`, `make check`, `make bench`, `make check-clients` or `make deb` need and that
# are not there; the compiler too, where there is none and Debian has one that is new enough.
#
#   packages.sh build|demo|check|bench|clients|deb
#
# Says nothing and needs no rights when everything is there. What it installs is not started: no sshd and no TPM daemon
# begins to run on this machine because of a demonstration.
set -euo pipefail

readonly RUST_NEEDED=1.89

missing=()
services=()

main() {
    local need=${1:-}
    case $need in
        build) for_building ;;
        demo) for_building && for_demo ;;
        check) for_building && for_demo && for_check ;;
        bench) for_building && for_demo && for_check && for_bench ;;
        clients) need=check-clients && for_building && for_demo && for_check && for_clients ;;
        deb) for_building && has_command dpkg-shlibdeps dpkg-dev && has_command xz xz-utils ;;
        *)
            echo "usage: packages.sh build|demo|check|bench|clients|deb" >&2
            exit 2
            ;;
    esac
    is_new_enough "$(rust)" || compiler
    if ((${#missing[@]} > 0)); then
        install "$need"
    fi
    local version
    version=$(rust)
    is_new_enough "$version" || no_compiler "$version"
}

# One line for each thing needed: how to see that it is there, and the package that brings it.

for_building() {
    has_command gcc gcc
    has_file /usr/include/stdio.h libc6-dev
    has_command make make
}

for_demo() {
    has_command swtpm swtpm
    has_command pkcs11-tool opensc
    has_command openssl openssl
    has_command ssh openssh-client
    has_command ssh-keygen openssh-client
    has_command sshd openssh-server ssh.service ssh.socket
}

for_check() {
    has_command pkg-config pkg-config
    has_library tss2-esys libtss2-dev
    has_library tss2-tctildr libtss2-dev
    has_command swtpm_setup swtpm-tools
    has_file "$(engines)/pkcs11.so" libengine-pkcs11-openssl
    has_command p11tool gnutls-bin
    has_command p11-kit p11-kit
    has_file "$(libraries)/pkcs11/p11-kit-client.so" p11-kit-modules
    has_command certutil libnss3-tools
    has_command nginx nginx-light nginx.service
    has_command curl curl
    has_file "$(libraries)/libjemalloc.so.2" libjemalloc2
    has_command git git
    has_command zsh zsh
    has_command fish fish
    has_command strace strace
    has_command valgrind valgrind
    has_command tpm2_getcap tpm2-tools
    has_file "$(providers)/tpm2.so" tpm2-openssl
    has_command tpm2-abrmd tpm2-abrmd tpm2-abrmd.service
    # Elsewhere it is in a package of another name, if there is one, and its test is left out.
    [[ $(debian) != 1[23] ]] || has_file /usr/lib/systemd/systemd-measure systemd
    has_command dbus-daemon dbus-daemon
    # What tpm2_ptool imports, which tests/scripts/tpm2-pkcs11.sh unpacks, and how it reaches a TPM behind a socket.
    has_module tpm2_pytss python3-tpm2-pytss
    has_module yaml python3-yaml
    has_module cryptography python3-cryptography
    has_module pyasn1_modules python3-pyasn1-modules
    has_file "$(libraries)/libtss2-tcti-cmd.so.0" libtss2-tcti-cmd0
    # What tests would otherwise install for themselves, several at once.
    has_command javac default-jdk-headless
    has_command debootstrap debootstrap
    has_python venv python3-venv
}

# How the tools of the module that ours is compared with reach a TPM behind a socket.
for_bench() {
    has_command socat socat
}

# What only the long run has.
for_clients() {
    has_command column bsdextrautils
    has_command apache2 apache2-bin
    has_command stunnel4 stunnel4 stunnel4.service
    has_command openvpn openvpn openvpn.service
    has_command pki strongswan-pki
    has_file /usr/lib/ipsec/plugins/libstrongswan-pkcs11.so libstrongswan-extra-plugins
    has_file /usr/lib/ipsec/plugins/libstrongswan-openssl.so libstrongswan-standard-plugins
    has_command gnupg-pkcs11-scd gnupg-pkcs11-scd
    has_command gpg gpg
    has_command gpg-agent gpg-agent
    has_command gpgsm gpgsm
    has_command softhsm2-util softhsm2
    has_command go golang-go
    has_file /usr/share/gocode/src/github.com/miekg/pkcs11 golang-github-miekg-pkcs11-dev
    # Of the module that ours is compared with.
    has_command tpm2_ptool libtpm2-pkcs11-tools
    has_file "$(libraries)/libtss2-tcti-cmd.so.0" libtss2-tcti-cmd0
    has_command socat socat
    has_file "$(libraries)/pkcs11/libtpm2_pkcs11.so" libtpm2-pkcs11-1
}

debian() { (. /etc/os-release 2>/dev/null && [[ ${ID:-} == debian ]] && echo "${VERSION_ID:-}") || true; }

has_command() { command -v "$1" >/dev/null || need "${@:2}"; }

has_python() { python3 -c "import $1, ensurepip" 2>/dev/null || need "${@:2}"; }

has_module() { /usr/bin/python3 -c "import $1" 2>/dev/null || need "${@:2}"; }

has_file() { [[ -e $1 ]] || need "${@:2}"; }

# Without pkg-config nobody can say whether a library is there; asking for it again costs nothing.
has_library() { pkg-config --exists "$1" 2>/dev/null || need "${@:2}"; }

libraries() { echo "/usr/lib/$(gcc -print-multiarch 2>/dev/null)"; }

engines() { openssl version -e 2>/dev/null | cut -d'"' -f2; }

providers() { openssl version -m 2>/dev/null | cut -d'"' -f2; }

need() {
    local package
    for package in "${missing[@]}"; do
        [[ $package != "$1" ]] || return 0
    done
    missing+=("$1")
    services+=("${@:2}")
}

install() {
    local root=()
    ((EUID == 0)) || root=(sudo -n)
    if ! command -v apt-get >/dev/null; then
        give_up "$1" "this system has no apt-get; the names are Debian's"
    elif ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        give_up "$1" "that needs root, and sudo would ask for a password: sudo apt-get install ${missing[*]}"
    fi
    echo "Installing ${missing[*]}" >&2
    local log
    log=$(mktemp)
    if ! "${root[@]}" bash -c "$AS_ROOT" bash "${#missing[@]}" "${missing[@]}" "${services[@]}" </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        give_up "$1" "apt-get failed, see above"
    fi
    rm -f "$log"
}

# Services of new packages are neither started now (policy-rc.d is Debian's way to say so) nor at the next boot.
readonly AS_ROOT='
set -euo pipefail
count=$1
shift
packages=("${@:1:count}")
services=("${@:count+1}")
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap "rm -f $policy" EXIT
    printf "#!/bin/sh\nexit 101\n" >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "${packages[@]}"
if [[ -d /run/systemd/system ]]; then
    for service in "${services[@]}"; do
        systemctl --quiet disable "$service" || true
    done
fi
'

give_up() {
    printf '\n`make %s` needs these packages: %s\n%s\n' "$1" "${missing[*]}" "$2" >&2
    exit 1
}

# The version of the compiler, if there is one with cargo.
rust() {
    command -v cargo >/dev/null || return 0
    { rustc --version 2>/dev/null || true; } | cut -d' ' -f2
}

is_new_enough() { [[ -n $1 && $(printf '%s\n' "$RUST_NEEDED" "$1" | sort -V | head -n 1) == "$RUST_NEEDED" ]]; }

# Debian brings a newer compiler than its release has for the browsers among its security updates. Whoever has one of his own keeps it.
compiler() {
    [[ $(debian) == 1[23] ]] && ! command -v rustup >/dev/null || return 0
    need rustc-web
    need cargo-web
}

no_compiler() {
    local found='none was found' debian=''
    [[ -z $1 ]] || found="this is $1"
    [[ $(debian) != 13 ]] || debian=' (Debian has it as a package, rustup)'
    echo "Rust $RUST_NEEDED or newer is needed, and $found: \`rustup update\`; https://rustup.rs installs it for one user$debian." >&2
    exit 1
}

# sshd and tpm2-abrmd live where a user's PATH may not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
main "$@"
