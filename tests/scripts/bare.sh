#!/usr/bin/env bash
# A new Debian system, on which nobody has installed anything but make, git and ca-certificates: `make demo` and `make check` in it, of
# what is committed here.
#
#   bare.sh [trixie|bookworm] [TARGET...]
#
# Needs root and about 12 GB, and takes an hour. Debian 13 brings a compiler that is new enough among its security updates, and so
# does Debian 12. The tree is made anew each time, in tests/.cache/bare-SUITE; packages come from where this machine's apt gets
# its own.
set -euo pipefail

readonly SUITE=${1:-trixie}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tree=$here/tests/.cache/bare-$SUITE
shift || true
targets=("$@")
((${#targets[@]} > 0)) || targets=(demo check)

main() {
    ((EUID == 0)) || fail 'a Debian tree needs root (debootstrap, chroot)'
    case $SUITE in trixie | bookworm) ;; *) fail 'usage: bare.sh [trixie|bookworm] [TARGET...]' ;; esac
    command -v debootstrap >/dev/null || "$here/tests/scripts/packages.sh" check
    local mirror security
    mirror=$(source_of 'Label: Debian')
    security=$(source_of 'Label: Debian-Security')
    [[ -n $mirror && -n $security ]] || fail "apt on this machine does not know Debian's packages and its security updates"
    mkdir -p "$(dirname "$tree")"
    rm -rf --one-file-system "$tree"
    echo "bare.sh: making a new $SUITE in $tree"
    debootstrap --variant=minbase --include=make,git,ca-certificates "$SUITE" "$tree" "$mirror" >"$tree.log" 2>&1 ||
        fail "debootstrap failed, see $tree.log"
    printf 'deb %s %s main\n' "$mirror" "$SUITE" "$mirror" "$SUITE-updates" "$security" "$SUITE-security" \
        >"$tree/etc/apt/sources.list"
    # How this machine reaches the network is no part of what is tried.
    cp /etc/resolv.conf /etc/hosts "$tree/etc/"
    cp -r /etc/ssl/certs "$tree/etc/ssl/"
    cp -rL /usr/local/share/ca-certificates "$tree/usr/local/share/" 2>/dev/null || true
    cp /etc/apt/apt.conf.d/*proxy* "$tree/etc/apt/apt.conf.d/" 2>/dev/null || true
    git clone -q "$here" "$tree/root/tpm2-cryptoki"
    local target
    for target in "${targets[@]}"; do
        echo "bare.sh: make $target"
        inside make "$target"
    done
}

# Its own processes and mounts, gone with it.
inside() {
    # shellcheck disable=SC2016
    unshare --mount --pid --ipc --fork --kill-child bash -c '
        set -euo pipefail
        tree=$1
        shift
        mount -t proc proc "$tree/proc"
        mount --rbind /dev "$tree/dev"
        mount --make-rslave "$tree/dev"
        mount -t sysfs -o ro sysfs "$tree/sys"
        mount -t tmpfs tmpfs "$tree/run"
        exec chroot "$tree" env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            CI="${CI-}" bash -c "cd /root/tpm2-cryptoki && exec \"\$@\"" sh "$@"
    ' bash "$tree" "$@" </dev/null
}

source_of() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "$1" 2>/dev/null | sort -u | head -n 1
}

fail() {
    echo "bare.sh: $*" >&2
    exit 1
}

main
