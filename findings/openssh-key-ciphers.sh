#!/usr/bin/env bash
# OpenSSH private keys that its own `ssh-keygen -Z` encrypts, and that other readers of the format do not open.
#
# The cipher of a key file is free: `ssh-keygen -p -Z CIPHER` takes each that `ssh -Q cipher` lists, and password managers choose aes256-gcm.
# With a cipher that authenticates, the tag stands *behind* the length-prefixed private section, where nothing else is.
#
# Seen with OpenSSH 9.2p1, cryptography 50.0.2, paramiko 5.1.0, asyncssh 2.24.1:
#
#   cipher                          cryptography  paramiko  asyncssh
#   aes256-ctr (the default)        yes           yes       yes
#   aes128-cbc                      no            no        yes
#   3des-cbc                        no            no        yes
#   aes128-gcm@openssh.com          no            no        yes
#   aes256-gcm@openssh.com          yes           no        yes
#   chacha20-poly1305@openssh.com   no            no        yes
#
# Each says "unknown cipher" or "Unsupported cipher". What users do: `ssh-keygen -p -Z aes256-ctr -f FILE`. `ptool import` opens all of them.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet install cryptography==50.0.2 paramiko==5.1.0 asyncssh==2.24.1

cat >readers.py <<'PYTHON'
import asyncssh, paramiko
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

def opens(read):
    try:
        read()
        return "yes"
    except Exception as error:
        assert "cipher" in str(error).lower(), error
        return "no"

print(opens(lambda: load_ssh_private_key(open("key", "rb").read(), b"passphrase")),
      opens(lambda: paramiko.ECDSAKey.from_private_key_file("key", "passphrase")),
      opens(lambda: asyncssh.read_private_key("key", "passphrase")))
PYTHON

while read -r cipher expected; do
    rm -f key key.pub
    ssh-keygen -q -t ecdsa -N passphrase -a 2 -Z "$cipher" -f key
    seen=$(venv/bin/python -W ignore readers.py 2>/dev/null)
    echo "$cipher: cryptography, paramiko, asyncssh: $seen"
    [[ $seen == "$expected" ]] || { echo "this was: $expected" >&2; exit 1; }
done <<'TABLE'
aes256-ctr yes yes yes
aes128-cbc no no yes
3des-cbc no no yes
aes128-gcm@openssh.com no no yes
aes256-gcm@openssh.com yes no yes
chacha20-poly1305@openssh.com no no yes
TABLE
