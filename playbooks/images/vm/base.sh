#!/usr/bin/env bash
# Makes the base of the machines' disks: base.sh RECIPE OUT
#   RECIPE   a folder made by harness/provision/image.py (see ../container/build.sh); its packages include a kernel
#   OUT      a folder, made unless it exists, with base.qcow2 (ext4, not partitioned), vmlinuz and initrd; whole or not at all
# Runs as root. Everything is built on a tmpfs in a private mount namespace: however this script ends, by kill -9 too,
# at most OUT.partial is left behind, and the next call removes it.
set -euo pipefail
recipe=$(realpath "$1") out=$(realpath -m "$2")
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

mkdir -p "$(dirname "$out")"
if [ "${BASE_NAMESPACE-}" != yes ]; then
    export BASE_NAMESPACE=yes
    exec unshare --mount --propagation private "$here/base.sh" "$recipe" "$out"
fi

# One at a time. After the lock is taken, OUT may exist already, and a partial folder belongs to no running build.
exec 9>"$(dirname "$out")/vm.lock"
flock 9
[ ! -e "$out" ] || exit 0
rm -rf "$(dirname "$out")"/vm-*.partial
mkdir "$out.partial"

# The tree takes 0.7 GB and its image as much. With little memory, use the disk.
work=$out.partial/work
mkdir "$work"
available_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
if [ "$available_kib" -gt 9000000 ]; then
    mount -t tmpfs -o size=4g,mode=0755 pgcrucible "$work"
fi
root=$work/root
mkdir "$root"
"$here/../container/build.sh" "$recipe" | tar --extract --numeric-owner --xattrs --xattrs-include='*' --directory "$root"

cp "$here/customize.sh" "$root/root/"
chroot "$root" sh /root/customize.sh
kernel=$(ls "$root/lib/modules")
mv "$root/boot/vmlinuz-$kernel" "$out.partial/vmlinuz"
mv "$root/initrd" "$out.partial/initrd"

# Zero all inode tables now: the kernel would otherwise zero them lazily, during a measurement.
mke2fs -q -t ext4 -L pgcrucible -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 -m 1 \
    -d "$root" "$work/base.raw" 6G
qemu-img convert -f raw -O qcow2 "$work/base.raw" "$out.partial/base.qcow2"
if mountpoint -q "$work"; then umount "$work"; fi
rm -rf "$work"

# Give the files to the owner of the cache folder.
chown -R --reference="$(dirname "$out")" "$out.partial"
mv "$out.partial" "$out"
