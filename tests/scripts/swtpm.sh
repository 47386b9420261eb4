#!/usr/bin/env bash
# The software TPM of a newer Debian than this machine's: swtpm and libtpms 0.10, in a directory and not installed.
#
#   swtpm.sh
#
# Says on standard output what to start in place of `swtpm`: a script that runs it with its own libraries. Test fixtures take it
# as SWTPM, and the profile of new TPMs as SWTPM_PROFILE.
#
# Exit status 3: this machine cannot have one; the last line says why.
set -euo pipefail

tree=$(TPM2_CRYPTOKI_SUITE=forky "$(dirname "${BASH_SOURCE[0]}")/trixie.sh")
readonly tree
if [[ ! -x $tree/swtpm ]]; then
    cat >"$tree/swtpm.new" <<'END'
#!/bin/sh
tree=$(dirname "$0")
exec "$tree/lib64/ld-linux-x86-64.so.2" --library-path \
    "$tree/usr/lib/x86_64-linux-gnu:$tree/usr/lib/x86_64-linux-gnu/swtpm" "$tree/usr/bin/swtpm" "$@"
END
    chmod 755 "$tree/swtpm.new"
    mv "$tree/swtpm.new" "$tree/swtpm"
fi
echo "$tree/swtpm"
