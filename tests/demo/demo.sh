#!/usr/bin/env bash
# A key in a TPM, from its creation to an SSH login. `make demo` builds what this needs, and runs it.
#
# The TPM is a software TPM behind a proxy that counts commands; no device is touched. Everything is in one temporary
# directory, and is gone at the end. What is printed as a command is what runs, character for character.
# With KEEP=1, a shell with all of it set up opens before that.
set -euo pipefail

readonly TARGET=${TARGET:?run this as: make demo}
readonly REPOSITORY=$PWD
PATH=$TARGET/debug:$PATH:/usr/local/sbin:/usr/sbin:/sbin

demo=
sshd_pid=
made_run_sshd=
total=0
number=0

main() {
    paint
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    prepare
    title "A key that never leaves the TPM, from its creation to an SSH login"
    say "A software TPM stands in for the real one. What follows uses these settings" \
        "(\`make demo KEEP=1\` gives you a shell with them before all is cleaned up):"
    sed 's/^/    /' env

    step "Make the store, with the TPM's storage key in it"
    run 'ptool init' "action: Created"
    step "Make a token in it; PINs come from the environment here, and from a prompt otherwise"
    run 'ptool addtoken --label=demo' "label: demo"
    step "Make an RSA key and an elliptic curve key, in the TPM"
    run 'ptool addkey --label=demo --key-label=rsa --id=hex:01 --algorithm=rsa2048' "CKA_ID: '01'"
    run 'ptool addkey --label=demo --key-label=ec --id=hex:02 --algorithm=ecc256' "CKA_ID: '02'"

    step "Any PKCS#11 program sees them; what is public takes neither PIN nor TPM"
    run 'pkcs11-tool --module $MODULE --token-label demo --list-objects' "EC_POINT"
    untouched

    step "Sign in the TPM, and let OpenSSL judge"
    run 'echo "Sent by the holder of this TPM." >letter'
    sign rsa 01 "SHA256-RSA-PKCS"
    sign ec 02 "ECDSA-SHA256 --signature-format openssl"

    step "Public keys for SSH, again without the TPM"
    run 'ssh-keygen -D $MODULE | tee authorized_keys' "ecdsa-sha2-nistp256"
    untouched

    start_sshd
    step "Log in to an sshd on this machine; it lets in these two keys and nobody else"
    log_in rsa-sha2-512 ssh-rsa
    log_in ecdsa-sha2-nistp256 ecdsa-sha2-nistp256

    real_tpm
    keep
}

# Signs the letter with key $1 of id $2 by mechanism $3; the last word is OpenSSL's.
sign() {
    run "pkcs11-tool --module \$MODULE --token-label demo --read-object --type pubkey --id $2 -o $1.pub"
    run "pkcs11-tool --module \$MODULE --token-label demo --login --pin env:TPM2_CRYPTOKI_USERPIN \\
        --sign --id $2 -m $3 -i letter -o letter.$1"
    run "openssl dgst -sha256 -verify $1.pub -keyform DER -signature letter.$1 letter" "Verified OK"
}

# Logs in with the key that signs by algorithm $1; sshd must say that a key of type $2 was it.
log_in() {
    run "ssh -F ssh_config -o PKCS11Provider=\$MODULE -o PubkeyAcceptedAlgorithms=$1 \\
        demo \$PWD/welcome" \
        "Welcome, $(id -un). $(cat "$demo/secret"), let in by $2"
}

prepare() {
    demo=$(mktemp -d "${TMPDIR:-/tmp}/tpm2-cryptoki-demo.XXXXXX")
    mkdir "$demo/tpm"
    # A terminal's Ctrl-C is for this script, which then ends the TPM; it ends too when this process is gone.
    TMPDIR=$demo/tpm setsid swtpm-fixtures start --owner $$ >"$demo/tpm/env" 2>"$demo/tpm/log" ||
        fail "the software TPM did not start" "$demo/tpm/log"
    . "$demo/tpm/env"
    # Links, for short lines and for repositories whose path has a space in it.
    ln -s "$TARGET/debug/libtpm2_cryptoki.so" "$TARGET/debug/ptool" "$demo"
    cat >"$demo/env" <<END
export TPM2_CRYPTOKI_TCTI=$SWTPM_TCTI
export TPM2_CRYPTOKI_STORE=$demo/store
export TPM2_CRYPTOKI_SOPIN=officer-pin TPM2_CRYPTOKI_USERPIN=user-pin
export SSH_ASKPASS=$demo/askpass SSH_ASKPASS_REQUIRE=force
export MODULE=$demo/libtpm2_cryptoki.so
PATH=$demo:\$PATH
cd $demo
END
    # Somebody's own configuration has no say here.
    local config
    for config in "${TPM2_CRYPTOKI_CONFIG:-}" "${XDG_CONFIG_HOME:-${HOME:-}/.config}/tpm2-cryptoki/config.toml" /etc/tpm2-cryptoki/config.toml; do
        if [[ -n $config && -e $config ]]; then
            : >"$demo/config.toml"
            echo "export TPM2_CRYPTOKI_CONFIG=$demo/config.toml" >>"$demo/env"
            break
        fi
    done
    . "$demo/env"
    unset TPM2_CRYPTOKI_LOG
    od -An -N8 -tx1 /dev/urandom | tr -d ' \n' >secret
    printf '#!/bin/sh\nprintf "%%s\\n" "$TPM2_CRYPTOKI_USERPIN"\n' >askpass
    cat >welcome <<END
#!/bin/sh
echo "Welcome, \$(id -un). \$(cat $demo/secret), let in by \$(cut -d' ' -f2 "\$SSH_USER_AUTH")"
END
    chmod +x askpass welcome
    cost >/dev/null
}

# An sshd of our own: another port, other keys, no other user than this one, as root or not.
start_sshd() {
    ssh-keygen -q -t ed25519 -N '' -C '' -f host_key
    local pam=no
    if ((EUID == 0)); then
        # An unprivileged place that sshd insists on.
        [[ -d /run/sshd ]] || { mkdir -m 755 /run/sshd && made_run_sshd=yes; }
        # Without PAM, sshd lets nobody in to an account whose password is locked.
        ! grep -q '^root:!' /etc/shadow || pam=yes
    fi
    local port attempt tenths
    : >sshd.log
    for attempt in {1..20}; do
        port=$((20000 + RANDOM % 12000))
        cat >sshd_config <<END
ListenAddress 127.0.0.1
Port $port
HostKey $demo/host_key
AuthorizedKeysFile $demo/authorized_keys
AuthenticationMethods publickey
AllowUsers $(id -un)
PermitRootLogin prohibit-password
StrictModes no
UsePAM $pam
ExposeAuthInfo yes
PidFile none
END
        "$(command -v sshd)" -D -e -f "$demo/sshd_config" 2>sshd.log &
        sshd_pid=$!
        for tenths in {1..50}; do
            ! grep -q 'Server listening' sshd.log || break 2
            kill -0 "$sshd_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill "$sshd_pid" 2>/dev/null || true
        wait "$sshd_pid" 2>/dev/null || true
        sshd_pid=
        grep -q 'Address already in use' sshd.log || break
    done
    [[ -n $sshd_pid ]] || fail "sshd did not start" sshd.log
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 host_key.pub)" >known_hosts
    cat >ssh_config <<END
Host demo
    HostName 127.0.0.1
    Port $port
    User $(id -un)
    IdentityFile none
    IdentityAgent none
    PreferredAuthentications publickey
    StrictHostKeyChecking yes
    UserKnownHostsFile $demo/known_hosts
END
}

# Runs a command line as it is printed. It must succeed, and say $2.
run() {
    local text=$1 expected=${2:-} status=0
    printf '\n    %s$ %s%s\n' "$BOLD" "$text" "$PLAIN"
    timeout --foreground 120 bash -c "$text" >output 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        fail "exit status $status" output
    elif [[ -n $expected ]] && ! grep -qF -- "$expected" output; then
        fail "the output should have in it: $expected" output
    fi
    local line
    while IFS= read -r line; do
        ((${#line} <= WIDTH - 4)) || line=${line:0:WIDTH-5}…
        printf '    %s%s%s\n' "$DIM" "$line" "$PLAIN"
    done <output
    cost
}

# What the last command asked of the TPM: how many commands, and which.
cost() {
    swtpm-fixtures mark >tpm/mark
    local connections names
    commands=$(sed -n 's/^commands //p' tpm/mark)
    connections=$(sed -n 's/^connections //p' tpm/mark)
    # A failure is part of a plan (is there a storage key already?), except that the TPM is busy: then it is asked again.
    names=$(sed -n 's/^names //p' tpm/mark | sed 's/(0x922)/(busy)/g; s/(0x[0-9a-f]*)//g' | tr ' ' '\n' | uniq -c |
        sed -E 's/^ *1 //; s/^ *([0-9]+) (.*)/\2 ×\1/' | tr '\n' ' ')
    total=$((total + commands))
    if ((commands > 0)); then
        printf '    %sTPM: %s command%s: %s%s\n' "$COLOUR" "$commands" "$( ((commands == 1)) || echo s)" "${names% }" "$PLAIN"
    elif ((connections > 0)); then
        printf '    %sTPM: opened, and asked nothing%s\n' "$COLOUR" "$PLAIN"
    fi
}

# The last command promised not to need the TPM.
untouched() {
    ((commands == 0)) || fail "this should not have asked anything of the TPM"
    printf '    %sTPM: 0 commands, not even opened%s\n' "$COLOUR" "$PLAIN"
}

real_tpm() {
    local module=/usr/local/lib/pkcs11/libtpm2_cryptoki.so
    title "It works, by $total TPM commands in all. The same on the TPM of this machine:"
    cat <<END
    make build && sudo make install
    sudo usermod -aG tss \$USER      # then log in again: group tss may open /dev/tpmrm0
    ptool init                      # without TPM2_CRYPTOKI_TCTI, /dev/tpmrm0 it is
    ptool addtoken --label=mine     # asks for the PINs
    ptool addkey --label=mine --key-label=ssh --algorithm=ecc256
    ssh-keygen -D $module >>authorized_keys

  That authorized_keys goes to the other machine. In ~/.ssh/config of this one:

    Host *
        PKCS11Provider $module

  README.md has the rest.

END
}

keep() {
    [[ ${KEEP:-} == 1 && -t 0 ]] || return 0
    title "A shell with all of it set up; leave it to clean up."
    bash --rcfile env -i || true
}

clean_up() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    cd "$REPOSITORY"
    if [[ -n $sshd_pid ]]; then
        kill "$sshd_pid" 2>/dev/null || true
        wait "$sshd_pid" 2>/dev/null || true
    fi
    if [[ -n $demo ]]; then
        # Without an answer it is gone already, or goes when this process does.
        [[ -z ${SWTPM_FIXTURES_CONTROL:-} ]] || swtpm-fixtures quit >/dev/null 2>&1 || true
        rm -rf "$demo"
    fi
    [[ -z $made_run_sshd ]] || rmdir /run/sshd 2>/dev/null || true
    exit "$status"
}

fail() {
    printf '\n%sThe demo stopped here: %s.%s\n' "$RED" "$1" "$PLAIN" >&2
    if [[ -n ${2:-} ]]; then
        sed 's/^/    /' "$2" >&2
    fi
    if [[ -s ${demo:-/nowhere}/sshd.log ]]; then
        echo "  sshd said:" >&2
        tail -n 20 "$demo/sshd.log" | sed 's/^/    /' >&2
    fi
    exit 1
}

# --- how it looks ---

paint() {
    BOLD='' DIM='' COLOUR='' RED='' PLAIN='' WIDTH=100
    if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
        BOLD=$'\e[1m' DIM=$'\e[2m' COLOUR=$'\e[36m' RED=$'\e[31m' PLAIN=$'\e[0m'
        WIDTH=$(tput cols 2>/dev/null || echo 100)
    fi
}

title() { printf '\n%s%s%s\n\n' "$BOLD" "$1" "$PLAIN"; }

say() { printf '  %s\n' "$@" && echo; }

step() {
    number=$((number + 1))
    printf '\n  %s%d  %s%s\n' "$BOLD" "$number" "$1" "$PLAIN"
}

main
