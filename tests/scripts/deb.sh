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
getent group tss
for file in man/man1/ptool.1.gz bash-completion/completions/ptool zsh/vendor-completions/_ptool fish/vendor_completions.d/ptool.fish; do
    [ -s "/usr/share/$file" ]
    dpkg -L tpm2-cryptoki | grep -x "/usr/share/$file"
done
gzip -dc /usr/share/man/man1/ptool.1.gz | grep "^\.TH"
bash -c ". /usr/share/bash-completion/completions/ptool; complete -p ptool"
grep tss /usr/lib/udev/rules.d/60-tpm2-cryptoki.rules /usr/lib/tmpfiles.d/tpm2-cryptoki.conf /usr/lib/sysusers.d/tpm2-cryptoki.conf

# A store of the machine, and a key that signs.
ptool init --path /etc/tpm2-cryptoki
ptool addtoken --pid=1 --label=machine --sopin=officer --userpin=user-pin
ptool addkey --label=machine --key-label=web --id=hex:01 --algorithm=ecc256 --userpin=user-pin
echo letter >/tmp/letter
p11-kit list-modules | grep -A 20 "^tpm2-cryptoki:\|^module: tpm2-cryptoki" | grep machine
pkcs11-tool --module "$module" --token-label machine --read-object --type pubkey --id 01 -o /tmp/key
pkcs11-tool --module "$module" --token-label machine --login --pin user-pin --sign --id 01 -m ECDSA-SHA256 --signature-format openssl \
    -i /tmp/letter -o /tmp/signature
pkcs11-tool --module "$module" --token-label machine --verify --id 01 -m ECDSA-SHA256 --signature-format openssl -i /tmp/letter \
    --signature-file /tmp/signature | grep "Signature is valid"

# Every setting is in the configuration, and none is set; with all of them set it is one that is read.
not grep -Ev "^(#|$)" /etc/tpm2-cryptoki/config.toml
sed "s/^#\([a-z-]* = \)/\1/" /etc/tpm2-cryptoki/config.toml >/tmp/all.toml
[ "$(grep -c " = " /tmp/all.toml)" -ge 6 ]
TPM2_CRYPTOKI_CONFIG=/tmp/all.toml ptool config --label=machine >/tmp/config

# OpenSSL, as the package says how to set it up: what it has read of the key judges what the token signed.
openssl pkey -pubin -inform DER -in /tmp/key -out /tmp/key.pub
snippet() { ptool config --label=machine --key-label=web --snippet "$1"; }
if compgen -G "/usr/lib/*/ossl-modules/pkcs11.so"; then
    snippet openssl-provider | sed "s/^#pkcs11-module-token-pin.*/pkcs11-module-token-pin = file:\/tmp\/pin/" >/tmp/openssl.cnf
    set --
else
    snippet openssl-engine | sed "s/^#PIN = .*/PIN = user-pin/; s/^init = 0/init = 1/" >/tmp/openssl.cnf
    set -- -engine pkcs11 -keyform engine
fi
printf user-pin >/tmp/pin
OPENSSL_CONF=/tmp/openssl.cnf openssl dgst -sha256 "$@" -sign "$(snippet uri)" -out /tmp/signature.openssl /tmp/letter
openssl dgst -sha256 -verify /tmp/key.pub -signature /tmp/signature.openssl /tmp/letter

# A login by the key.
mkdir -p /run/sshd /root/.ssh
usermod -p "*" root
ssh-keygen -D "$module" | grep " web$" >/root/.ssh/authorized_keys
printf "#!/bin/sh\necho user-pin\n" >/tmp/askpass; chmod 700 /tmp/askpass
port=$((20000 + RANDOM % 20000))
/usr/sbin/sshd -p "$port" -o ListenAddress=127.0.0.1 -o UsePAM=no -o StrictModes=no -o PermitRootLogin=yes
[ "$(SSH_ASKPASS=/tmp/askpass SSH_ASKPASS_REQUIRE=force ssh -p "$port" -o "PKCS11Provider=$module" -o StrictHostKeyChecking=accept-new \
    127.0.0.1 echo in)" = in ]

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
