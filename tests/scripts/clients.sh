#!/usr/bin/env bash
# Runs every scenario of other people's programs, prints a table client x scenario x result, and writes it.
#
#   clients.sh [NAME...]      only the scenarios whose names contain one of these; then nothing is written
#
# With MODULE=/path/of/libtpm2_pkcs11.so, Debian's tpm2-pkcs11 is tested in the place of this module, with a store that its own
# tpm2_ptool makes; what it can do stands in the table beside ours from then on. The rows are in tests/clients/results/*.tsv, and
# docs/CLIENTS.md is made of them.
set -euo pipefail

readonly CARGO=${CARGO:-cargo}
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly RESULTS=$HERE/clients/results
readonly TARGETS=(interop clients pkcs11_tool open_token snippets ssh provider languages)

main() {
    local whose=tpm2-cryptoki
    if [[ -n ${MODULE:-} ]]; then
        export TPM2_CRYPTOKI_MODULE=$MODULE
        whose=$(basename "$MODULE" .so)
        # These are about our own names and pages.
        export NOT_FOR_OTHERS='pages::|^snippets |pkcs11_tool_lists|it_looks_around|p11_kit_lists_the_module|ssh_keygen_lists|who_gave_up'
    fi
    unset MODULE
    # What this machine lacks is a failure and not left out.
    export CI=${CI:-1}
    local log rows status=0
    log=$(mktemp)
    rows=$(mktemp)
    trap 'rm -f "$log" "$rows"' EXIT
    cd "$HERE/.."
    local arguments=(-p tests --features clients)
    local target
    for target in "${TARGETS[@]}"; do arguments+=(--test "$target"); done
    if $CARGO nextest --version >/dev/null 2>&1; then
        $CARGO nextest run "${arguments[@]}" --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
        check_count <"$log"
        nextest_rows <"$log" | sort -u >"$rows"
    else
        $CARGO test "${arguments[@]}" --no-fail-fast -- "$@" 2>&1 | tee "$log" || status=$?
        test_rows <"$log" | sort -u >"$rows"
    fi
    # 100 and 101 say that tests failed; with anything else not all of them ran.
    case $status in 0 | 100 | 101) [[ -s $rows ]] || exit 1 ;; *) exit "$status" ;; esac
    echo
    column -t -s $'\t' "$rows"
    if (($# == 0)); then
        mkdir -p "$RESULTS"
        cp "$rows" "$RESULTS/$whose.tsv"
        document >docs/CLIENTS.md
        echo
        echo "docs/CLIENTS.md is written."
    fi
    # Of another module the table is the result, whatever it says.
    [[ $whose == tpm2-cryptoki ]] || status=0
    exit "$status"
}

# PASS [   1.234s] (1/2) tests::interop web::nginx_engine
#
# One that runs for long is said to be SLOW before it ends. Of others, the last word counts; a test that passed and left a process
# behind (LEAK) has passed.
nextest_results() {
    sed -nE 's/^ *([A-Z][A-Z-]*)( [0-9]+\/[0-9]+)? \[[^]]*\] *(\( *[0-9]+\/[0-9]+\) )?tests::([a-z0-9_]+) ([a-zA-Z0-9_:]+)$/\1 \4 \5/p' |
        grep -vE '^(SLOW|TERMINATING|SETUP) ' | sed 's/^LEAK /PASS /' | sort -u || true
}

nextest_rows() { nextest_results | while read -r result target name; do row "$target" "$name" "$result"; done; }

# Whatever nextest calls it: every test that it ran has its row.
check_count() {
    local log ran counted
    log=$(cat)
    ran=$(sed -nE 's/^ *Summary \[[^]]*\] *([0-9]+) tests? run:.*/\1/p' <<<"$log")
    counted=$(nextest_results <<<"$log" | cut -d' ' -f2- | sort -u | wc -l)
    if [[ -n $ran && $ran != "$counted" ]]; then
        echo "clients.sh: $ran tests were run, and $counted of them are understood" >&2
        exit 1
    fi
}

#      Running tests/interop/main.rs (target/debug/deps/interop-0123)
# test web::nginx_engine ... ok
test_rows() {
    local target= line
    while read -r line; do
        case $line in
            *"Running tests/"*) target=${line#*Running tests/}; target=${target%%[./]*} ;;
            "test "*" ... ok") line=${line#test }; row "$target" "${line% ... ok}" PASS ;;
            "test "*" ... FAILED") line=${line#test }; row "$target" "${line% ... FAILED}" FAIL ;;
        esac
    done
}

row() {
    local target=$1 name=$2 result=fails client scenario
    if [[ -n ${NOT_FOR_OTHERS:-} && "$target $name" =~ $NOT_FOR_OTHERS ]]; then return; fi
    [[ $3 != PASS ]] || result=works
    scenario=${name##*::}
    case $target:$name in
        interop:ssh::openssh_9::*) client='OpenSSH 9.2' ;;
        interop:ssh::openssh_10::*) client='OpenSSH 10.0' ;;
        ssh:*) client='OpenSSH 9.2' ;;
        *:*nginx_engine*) client='nginx 1.22, engine' scenario='forked_workers_under_load_and_reloads' ;;
        *:*nginx_provider_asked_first) client='nginx 1.26, provider' scenario='the_token_asked_first' ;;
        *:*nginx_provider*) client='nginx 1.26, provider' scenario='forked_workers_under_load_and_reloads' ;;
        *:*apache_engine_*) client='Apache 2.4, engine' scenario=${scenario#apache_engine_}_workers_under_load_and_reloads ;;
        *:*apache_provider_prefork) client='Apache 2.4, provider' scenario=prefork_workers_under_load_and_reloads ;;
        *:*apache_provider_event) client='Apache 2.4, provider' scenario=event_workers_one_after_the_other ;;
        *:*haproxy_provider*) client='HAProxy 3.2, provider' scenario='worker_of_threads_under_load_and_reloads' ;;
        interop:web::*) client='any server' ;;
        interop:openssl::engine_*) client='OpenSSL 3.0, engine' scenario=${scenario#engine_} ;;
        interop:openssl::provider_*) client='OpenSSL 3.5, provider' scenario=${scenario#provider_} ;;
        interop:gnutls::gnutls_3_7::*) client='GnuTLS 3.7' ;;
        interop:gnutls::gnutls_3_8::*) client='GnuTLS 3.8' ;;
        interop:nss::nss_3_87::*) client='NSS 3.87' ;;
        interop:nss::nss_3_110::*) client='NSS 3.110' ;;
        interop:p11kit::*) client=p11-kit ;;
        interop:pages::*) client=documents ;;
        interop:costs::*) client='README' scenario=${scenario#the_readme_} ;;
        *:*curl_engine*) client='curl, engine' scenario=client_certificate ;;
        *:*curl_provider*) client='curl, provider' scenario=client_certificate ;;
        *:*bind_*) client='BIND 9.20' scenario=${scenario#bind_} ;;
        *:*stunnel_engine) client='stunnel, engine' scenario=server ;;
        *:*stunnel_provider) client='stunnel, provider' scenario=server ;;
        *:*openvpn_client) client=OpenVPN scenario=client_keys ;;
        *:*strongswan_pki) client='strongSwan pki' scenario=certificates_and_requests ;;
        *:*gnupg_smart_card_daemon) client='GnuPG, gnupg-pkcs11-scd' scenario=learns_signs_and_reads ;;
        *:*go_*) client='Go, miekg/pkcs11' ;;
        clients:pkcs11_tool_*) client='OpenSC pkcs11-tool' scenario=${scenario#pkcs11_tool_} ;;
        pkcs11_tool:*) client='OpenSC pkcs11-tool' ;;
        open_token:pkcs11_tool_*) client='OpenSC pkcs11-tool' scenario=${scenario#pkcs11_tool_} ;;
        open_token:ssh_keygen_*) client='OpenSSH 9.2' scenario=lists_the_key_of_a_token_without_pin ;;
        open_token:java_*) client='Java, SunPKCS11' scenario=${scenario#java_} ;;
        snippets:*) client='ptool config --snippet' ;;
        clients:openssl_engine) client='OpenSSL 3.0, engine' scenario=signs_and_decrypts ;;
        clients:gnutls_*) client='GnuTLS 3.7' scenario=${scenario#gnutls_} ;;
        clients:p11_kit_*) client=p11-kit scenario=${scenario#p11_kit_} ;;
        provider:*) client='OpenSSL 3.5, provider' ;;
        languages:python_pkcs11::*) client='Python, python-pkcs11' ;;
        languages:pykcs11::*) client='Python, PyKCS11' ;;
        languages:java_*) client='Java, SunPKCS11' scenario=${scenario#java_} ;;
        *) client=$target ;;
    esac
    printf '%s\t%s\t%s\n' "$client" "${scenario//_/ }" "$result"
}

document() {
    local ours=$RESULTS/tpm2-cryptoki.tsv theirs=$RESULTS/libtpm2_pkcs11.tsv
    cat <<'END'
# Other people's programs

Each row is a test that runs the program itself, unmodified, on a token in a software TPM. `make check-clients` runs them all and
writes this file; `make check` runs most of them. How to set a program up stands in [clients/](clients/).

The column of tpm2-pkcs11 is Debian's `libtpm2-pkcs11-1` under the same tests, with a store made by its own `tpm2_ptool`:
`make check-clients MODULE=/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so`. A dash stands where it was not run.
A scenario has many steps and fails with the first one that does; so where it says "fails" there, often much of it works, and one step does
not: a third key in use at the same time, P-521, a hash.

| client | scenario | tpm2-cryptoki | tpm2-pkcs11 |
|---|---|---|---|
END
    [[ -e $theirs ]] || theirs=/dev/null
    awk -F '\t' -v OFS=' | ' '
        FILENAME == ARGV[1] { other[$1 FS $2] = $3; next }
        { beside = ($1 FS $2) in other ? other[$1 FS $2] : "-"; print "| " $1, $2, $3, beside " |" }
    ' "$theirs" "$ours"
}

main "$@"
