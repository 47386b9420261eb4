#!/bin/sh
# Runs a program in a Debian tree (trixie.sh) that sees a directory of this machine as /world.
#
#   in-tree.sh TREE WORLD SECONDS PROGRAM ARGUMENTS...
#
# What is mounted for it is mounted in a namespace of its own: it is gone when the program is, however that ends, and so are the
# processes that the program has started.
set -eu

if [ "$1" != --inside ]; then
    exec unshare --mount --pid --fork --kill-child "$0" --inside "$@"
fi
tree=$2 world=$3 seconds=$4
shift 4
mount -t proc proc "$tree/proc"
mount --bind "$world" "$tree/world"
# Not as the first process of the namespace: timeout of coreutils 9.10 refuses that.
exec chroot "$tree" sh -c 'cd /world && timeout --kill-after=5 "$@"; exit $?' sh "$seconds" "$@"
