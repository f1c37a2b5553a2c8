#!/bin/sh
# Builds the hosts' root filesystem (Debian 12) and writes it to stdout as a tar file.
#   build.sh RECIPE    RECIPE is a folder made by harness/provision/image.py: packages, sources.list, apt.conf, ca/
# Runs as root. The tree is built on a tmpfs in a private mount namespace: no fsync reaches a disk, and nothing is left
# behind however this script ends, by kill -9 too.
set -eu
recipe=$(CDPATH='' cd -- "$1" && pwd)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if [ "${IN_NAMESPACE-}" != yes ]; then
    export IN_NAMESPACE=yes
    exec unshare --mount --propagation private "$0" "$recipe"
fi

# A root filesystem takes about 0.6 GB, and its tar stream is not stored: 3 GB are enough. With little memory, use the
# disk.
available_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
if [ "$available_kib" -gt 6000000 ]; then
    mount -t tmpfs -o size=3g,mode=0755 pgcrucible /mnt
    export TMPDIR=/mnt
fi

umask 022
export recipe here
exec mmdebstrap --mode=root --variant=minbase --format=tar --quiet \
    --include="$(tr '\n' ',' < "$recipe/packages")" \
    --aptopt="$recipe/apt.conf" \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='cp -r "$recipe/ca/." "$1/usr/local/share/ca-certificates/"' \
    --customize-hook='cp "$here/customize.sh" "$here/sshd.conf" "$1/root/"' \
    --customize-hook='chroot "$1" sh /root/customize.sh' \
    bookworm - "$recipe/sources.list"
