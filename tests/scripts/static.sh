#!/usr/bin/env bash
# Checks what a static ptool and a module need of the system.
#
#   static.sh PTOOL MODULE
set -euo pipefail

needed() { readelf --dynamic --wide "$1" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' | sort | tr '\n' ' '; }

ptool=$(needed "$1")
[[ -z $ptool ]] || { echo "$1 needs $ptool" >&2; exit 1; }
"$1" --version >/dev/null || { echo "$1 does not run" >&2; exit 1; }
module=$(needed "$2")
# The C library is one library under several names.
for library in $module; do
    case $library in
        libc.so.* | libm.so.* | ld-linux*) ;;
        *) echo "$2 needs $library" >&2; exit 1 ;;
    esac
done
echo "$1 needs nothing; $2 needs ${module% }"
