#!/usr/bin/env bash
# Makes a Debian package of what is built.
#
#   deb.sh DIRECTORY [OUTPUT]
#
# DIRECTORY has libtpm2_cryptoki.so and ptool; the package is written to OUTPUT, or there too. Its name goes to standard output.
# The package works on the release it was built on and on later ones: dpkg-shlibdeps says which C library it needs.
set -euo pipefail

readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly SOURCE=$HERE/../..
readonly NAME=tpm2-cryptoki

main() {
    local built output version architecture multiarch
    built=$(realpath "$1")
    output=$(realpath "${2:-$1}")
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/Cargo.toml" | head -n 1)-1
    architecture=$(dpkg --print-architecture)
    multiarch=$(dpkg-architecture -q DEB_HOST_MULTIARCH)
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$SOURCE" log -1 --format=%ct 2>/dev/null || date +%s)}

    local tree=$root/tree
    install -D -m 644 "$built/libtpm2_cryptoki.so" "$tree/usr/lib/$multiarch/pkcs11/libtpm2_cryptoki.so"
    install -D -m 755 "$built/ptool" "$tree/usr/bin/ptool"
    install -d "$tree/usr/share/p11-kit/modules"
    # A name without a directory: p11-kit looks where the module is.
    printf 'module: libtpm2_cryptoki.so\ncritical: no\ntrust-policy: no\n' >"$tree/usr/share/p11-kit/modules/$NAME.module"
    install -D -m 644 "$HERE/config.toml" "$tree/etc/$NAME/config.toml"
    install -D -m 644 "$HERE/tpm2-cryptoki.rules" "$tree/usr/lib/udev/rules.d/60-$NAME.rules"
    install -D -m 644 "$HERE/tmpfiles.conf" "$tree/usr/lib/tmpfiles.d/$NAME.conf"
    install -D -m 644 "$HERE/sysusers.conf" "$tree/usr/lib/sysusers.d/$NAME.conf"
    manuals "$tree"
    documents "$tree"
    control "$tree" "$version" "$architecture"
    find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    local package=$output/${NAME}_${version}_$architecture.deb
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
    echo "$package"
}

# Manual pages and completions, by the tool itself.
manuals() {
    local tree=$1 ptool=$1/usr/bin/ptool
    if "$ptool" generate man "$root" >/dev/null 2>&1; then
        install -d "$tree/usr/share/man/man1"
        find "$root" -maxdepth 1 -name '*.1' -exec install -m 644 -t "$tree/usr/share/man/man1" {} +
        gzip -9n "$tree"/usr/share/man/man1/*.1
    fi
    local shell place
    for shell in bash:bash-completion/completions/ptool zsh:zsh/vendor-completions/_ptool fish:fish/vendor_completions.d/ptool.fish; do
        place=$tree/usr/share/${shell#*:}
        if "$ptool" generate completions "${shell%%:*}" >"$root/completions" 2>/dev/null; then
            install -D -m 644 "$root/completions" "$place"
        fi
    done
}

documents() {
    local doc=$1/usr/share/doc/$NAME
    install -d "$doc/clients"
    install -m 644 "$SOURCE"/README.md "$SOURCE"/docs/*.md "$doc"
    install -m 644 "$SOURCE"/docs/clients/*.md "$doc/clients"
    {
        echo "$NAME is under the Apache License 2.0 or the MIT licence, at your choice."
        echo 'The Apache License 2.0 stands in /usr/share/common-licenses/Apache-2.0; the other one is this:'
        echo
        cat "$SOURCE/LICENSE-MIT"
    } >"$doc/copyright"
    printf '%s (%s) unstable; urgency=medium\n\n  * The release of this version.\n\n -- %s <%s@localhost>  %s\n' \
        "$NAME" "$version" "$NAME" "$NAME" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.Debian.gz"
}

control() {
    local tree=$1 version=$2 architecture=$3
    install -d "$tree/DEBIAN" "$root/debian"
    install -m 755 "$HERE/postinst" "$HERE/postrm" "$tree/DEBIAN"
    echo "/etc/$NAME/config.toml" >"$tree/DEBIAN/conffiles"
    # It wants to see a source package.
    printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' "$NAME" "$NAME" >"$root/debian/control"
    local needs
    needs=$(cd "$root" && dpkg-shlibdeps -O "tree/usr/bin/ptool" tree/usr/lib/*/pkcs11/libtpm2_cryptoki.so 2>/dev/null)
    cat >"$tree/DEBIAN/control" <<END
Package: $NAME
Version: $version
Architecture: $architecture
Maintainer: $NAME <$NAME@localhost>
Installed-Size: $(du -k -s --apparent-size "$tree" | cut -f1)
Depends: passwd, ${needs#shlibs:Depends=}
Recommends: tpm-udev
Suggests: p11-kit, opensc, pkcs11-provider | libengine-pkcs11-openssl, libtss2-tctildr0 | libtss2-tctildr0t64
Section: utils
Priority: optional
Description: PKCS#11 token in the TPM 2.0 of this machine
 A PKCS#11 module that turns the TPM 2.0 into a token, for OpenSSH, OpenSSL,
 GnuTLS, NSS, p11-kit and every other program that speaks PKCS#11, and the
 command line tool ptool. Private keys are made in the TPM and never leave it.
END
    (cd "$tree" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
}

main "$@"
