#!/usr/bin/env bash
# A Debian trixie tree with OpenSSL 3.5 and pkcs11-provider, OpenSSH 10, web servers: clients newer than this machine's.
#
#   trixie.sh [DIRECTORY]
#
# The directory is TPM2_CRYPTOKI_TRIXIE or tests/.cache/trixie-3 if none is given. Makes it if it is not there, which takes about a
# minute and 500 MB; a second run says only that it is. Packages come from where this machine's apt gets its own. What is said
# goes to standard error, the directory alone to standard output.
#
# With TPM2_CRYPTOKI_SUITE=forky, a small tree with the software TPM of that release (see swtpm.sh).
# With TPM2_CRYPTOKI_SUITE=forky-clients, a tree of the same release with OpenSSL 3.6 and programs that are young (see forky.sh).
# With TPM2_CRYPTOKI_SUITE=bookworm, a small tree of that release, in tests/.cache/bookworm-3: where packages are tried.
#
# Exit status 3: this machine cannot have one; the last line says why.
set -euo pipefail

readonly SUITE=${TPM2_CRYPTOKI_SUITE:-trixie}
# The recipe's version is a part of the finished tree: a change here makes another one.
readonly RECIPE=3
case $SUITE in
    trixie)
        given=${TPM2_CRYPTOKI_TRIXIE:-}
        packages=pkcs11-provider,openssl,opensc,openssh-client,openssh-server,nginx-light,apache2-bin,stunnel4,curl,gnutls-bin
        packages+=,p11-kit,p11-kit-modules,libnss3-tools,git,passwd,procps
        # Of the module that ours is compared with.
        packages+=,libtpm2-pkcs11-1,libtss2-tcti-swtpm0t64,libtss2-tcti-cmd0t64,socat
        ;;
    forky)
        given=${TPM2_CRYPTOKI_FORKY:-}
        packages=swtpm
        ;;
    forky-clients)
        given=${TPM2_CRYPTOKI_FORKY_CLIENTS:-}
        packages=pkcs11-provider,openssl,opensc,haproxy,bind9,bind9-utils,bind9-dnsutils,osslsigncode,curl,procps
        ;;
    *)
        given=${TPM2_CRYPTOKI_BOOKWORM:-}
        packages=openssl,libengine-pkcs11-openssl,opensc,openssh-client,openssh-server,p11-kit,passwd
        ;;
esac

main() {
    local tree=${1:-${given:-$(dirname "${BASH_SOURCE[0]}")/../.cache/$SUITE-$RECIPE}}
    mkdir -p "$(dirname "$tree")"
    tree=$(realpath -m "$tree")
    # Nor could it be used by anybody else.
    ((EUID == 0)) || cannot 'a Debian tree needs root (debootstrap, chroot)'
    if ! finished "$tree"; then
        # Two runs at once make one tree.
        exec 9>"$tree.lock"
        flock 9
        finished "$tree" || make_tree "$tree"
    fi
    say "a $SUITE tree is in $tree"
    echo "$tree"
}

finished() { [[ -e $1/.finished && $(<"$1/.finished") == "$RECIPE" ]]; }

make_tree() {
    local tree=$1
    command -v apt-get >/dev/null || cannot 'this is not a Debian system: no apt-get'
    draft=$(mktemp -d "$tree.XXXXXX")
    trap 'rm -rf --one-file-system "$draft" "$draft.log"' EXIT
    chmod 755 "$draft"
    quietly debootstrap_package
    local mirror
    mirror=$(mirror) || cannot 'apt knows no source of Debian packages on this machine'
    proxy
    say "making a $SUITE tree in $tree, about a minute"
    # Of a release that is newer than debootstrap, it knows no script: all have had the same for years.
    local script=() release=${SUITE%-clients}
    [[ -e /usr/share/debootstrap/scripts/$release ]] || script=(sid)
    quietly debootstrap --variant=minbase --include="$packages" "$release" "$draft" "$mirror" "${script[@]}"
    rm -rf "$draft"/var/cache/apt/archives/*.deb "$draft"/var/lib/apt/lists/* "$draft"/usr/share/{doc,locale,man}
    # Where tests put what programs in the tree are to see.
    mkdir "$draft/world"
    echo "$RECIPE" >"$draft/.finished"
    rm -rf --one-file-system "$tree"
    mv -T "$draft" "$tree"
}

debootstrap_package() {
    command -v debootstrap >/dev/null && return
    say 'installing debootstrap'
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends debootstrap
}

# The site of Debian itself among apt's sources: not its security updates, and not other people's packages.
mirror() {
    local sources
    sources=$(sources_of 'Origin: Debian' 'Label: Debian')
    # Without package lists apt does not know whose a source is.
    [[ -n $sources ]] || sources=$(sources_of | grep -E '/debian/?$' || true)
    [[ -n $sources ]] && head -n 1 <<<"$sources"
}

sources_of() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "$@" 2>/dev/null | sort -u; }

# debootstrap fetches by itself, so it is told of the proxy that apt has been told of.
proxy() {
    local found=
    eval "$(apt-config shell found Acquire::http::Proxy)"
    [[ -z $found || -n ${http_proxy:-} ]] || export http_proxy=$found
}

# Runs a command whose words are of interest only if it fails.
quietly() {
    "$@" </dev/null >"$draft.log" 2>&1 && return
    tail -n 20 "$draft.log" >&2
    cannot "$1 failed, see above"
}

say() { echo "trixie.sh: $*" >&2; }

cannot() {
    say "$*"
    exit 3
}

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
main "$@"
