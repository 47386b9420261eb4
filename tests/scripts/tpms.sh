#!/usr/bin/env bash
# Every mechanism with every operation on the software TPM of a newer Debian, with each profile.
#
#   tpms.sh [PROFILE...]      only these: null, default-v1, fips-host, minimal
#
# The result is a line for each profile.
set -euo pipefail

readonly CARGO=${CARGO:-cargo}
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

main() {
    SWTPM=$("$HERE/swtpm.sh")
    export SWTPM
    (($# > 0)) || set -- null default-v1 fips-host minimal
    local profile status=0
    for profile in "$@"; do
        SWTPM_PROFILE=$(profile "$profile")
        export SWTPM_PROFILE
        if run; then echo "$profile: passed"; else echo "$profile: FAILED" && status=1; fi
    done
    return "$status"
}

run() { "$CARGO" nextest run -p tests --test table_mechanisms --run-ignored only; }

# The words of `swtpm socket --profile`.
profile() {
    case $1 in
        # What it takes if it is told nothing.
        null) ;;
        fips-host) echo 'name=custom,remove-disabled=fips-host' ;;
        minimal) echo "profile=$(minimal)" ;;
        *) echo "name=$1" ;;
    esac
}

# Without the modes of AES but CFB, without RSAES, and without TestParms (0x18a) and HMAC sequences.
minimal() {
    local algorithms=rsa,rsa-min-size=1024,sha1,hmac,aes,aes-min-size=128,mgf1,keyedhash,xor,sha256,sha384,null
    algorithms+=,rsassa,rsapss,oaep,ecdsa,ecdh,kdf1-sp800-56a,kdf2,kdf1-sp800-108,ecc,ecc-min-size=192,ecc-nist,symcipher,cfb
    local commands=0x11f-0x122,0x124-0x12e,0x130-0x140,0x142-0x159,0x15b-0x15e,0x160-0x165,0x167-0x174,0x176-0x178,0x17a-0x189,0x18b-0x193,0x197
    echo "{\"Name\":\"custom:minimal\",\"Algorithms\":\"$algorithms\",\"Commands\":\"$commands\"}"
}

main "$@"
