#!/usr/bin/env bash
# Installs a Debian package in trees of two releases, uses what it brings, and takes it off again.
#
#   TARGET=DIRECTORY deb.sh PACKAGE
#
# TARGET is cargo's directory, with swtpm-fixtures in it. The trees themselves are not changed: what happens is thrown away.
set -euo pipefail

readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

main() {
    local package suite tree
    package=$(realpath "$1")
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
    for suite in bookworm trixie; do
        tree=$(TPM2_CRYPTOKI_SUITE=$suite "$HERE/trixie.sh" 2>"$directory/log") || { cat "$directory/log" >&2; exit 1; }
        mkdir "$directory/$suite"
        # It ends when this process does.
        TMPDIR=$directory/$suite setsid "$TARGET/debug/swtpm-fixtures" start --owner $$ >"$directory/$suite/env" 2>"$directory/log"
        . "$directory/$suite/env"
        unshare --mount --pid --fork --kill-child \
            bash -euo pipefail -c "$IN_NAMESPACE" bash "$tree" "$package" "$SWTPM_TCTI" "$IN_TREE" >"$directory/log" 2>&1 ||
            { cat "$directory/log" >&2; echo "$(basename "$package") does not work on $suite" >&2; exit 1; }
        echo "$(basename "$package") installs, works and goes on $suite"
    done
}

readonly IN_NAMESPACE='
tree=$1 package=$2 tcti=$3 inside=$4
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay none -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
cp "$package" /mnt/root/tmp/package.deb
exec chroot /mnt/root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TPM2_CRYPTOKI_TCTI="$tcti" \
    timeout 300 bash -euxo pipefail -c "$inside"
'

readonly IN_TREE='
not() { if "$@"; then return 1; fi; }
dpkg -i /tmp/package.deb
module=$(dpkg -L tpm2-cryptoki | grep "/pkcs11/libtpm2_cryptoki.so$")
[ "$(stat -c %U:%G:%a /etc/tpm2-cryptoki)" = root:tss:750 ]
dpkg -s tpm2-cryptoki | grep "^ /etc/tpm2-cryptoki/config.toml "

# A store of the machine, and a key that signs.
ptool init --path /etc/tpm2-cryptoki
ptool addtoken --pid=1 --label=machine --sopin=officer --userpin=user-pin
ptool addkey --label=machine --key-label=web --id=hex:01 --algorithm=ecc256 --userpin=user-pin
echo letter >/tmp/letter
p11-kit list-modules | grep -A 20 "^tpm2-cryptoki:\|^module: tpm2-cryptoki" | grep machine
pkcs11-tool --module "$module" --token-label machine --read-object --type pubkey --id 01 -o /tmp/key ||
    openssl version
pkcs11-tool --module "$module" --token-label machine --login --pin user-pin --sign --id 01 -m ECDSA-SHA256 --signature-format openssl \
    -i /tmp/letter -o /tmp/signature
pkcs11-tool --module "$module" --token-label machine --verify --id 01 -m ECDSA-SHA256 --signature-format openssl -i /tmp/letter \
    --signature-file /tmp/signature | grep "Signature is valid"

# A user who is in group tss reads the store; one who is not has a store of his own, and no quarrel with the configuration.
chgrp tss /etc/tpm2-cryptoki/*; chmod 640 /etc/tpm2-cryptoki/*.sqlite3
useradd --create-home --groups tss member; useradd --create-home stranger
as() { setpriv --reuid="$1" --regid="$1" --init-groups env HOME="/home/$1" "${@:2}"; }
as member pkcs11-tool --module "$module" --list-token-slots | grep machine
as stranger pkcs11-tool --module "$module" --list-token-slots >/tmp/seen
not grep machine /tmp/seen
as stranger ptool init

# What the administrator wrote stays, whatever happens to the package.
echo "idle-ms = 500" >>/etc/tpm2-cryptoki/config.toml
dpkg -i /tmp/package.deb
grep "^idle-ms = 500" /etc/tpm2-cryptoki/config.toml
dpkg -r tpm2-cryptoki
not test -e "$module"
not test -e /usr/bin/ptool
grep "^idle-ms = 500" /etc/tpm2-cryptoki/config.toml
dpkg -P tpm2-cryptoki
not test -e /etc/tpm2-cryptoki/config.toml
test -e /etc/tpm2-cryptoki/tpm2_cryptoki.sqlite3
'

main "$@"
