#!/bin/sh
# Turns a host's root filesystem into a machine's: what a container gets from its engine, a machine does itself.
# Runs inside the new root. Names, addresses and keys are not here: harness/provision/qemu.py hands them over at boot.
set -eu
rm -f /root/customize.sh

# There is no udev: the few drivers that a machine of ours needs are named.
printf 'virtio_net\nvirtio_rng\n' > /etc/modules-load.d/pgcrucible.conf
systemctl --quiet enable networking.service

# systemd-tmpfiles writes the network's description from the credentials, so it has to come first.
install -d /etc/systemd/system/networking.service.d
printf '[Unit]\nAfter=systemd-tmpfiles-setup.service\n' > /etc/systemd/system/networking.service.d/pgcrucible.conf

# What no host of ours uses and each boot would start: a sixth of the time of an emulated one.
for unit in dev-hugepages.mount ifupdown-pre.service kmod-static-nodes.service modprobe@.service \
    proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service systemd-journal-flush.service \
    systemd-pstore.service systemd-remount-fs.service; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done

mktirfs -o /initrd --auto-modules=no --microcode=no --include-modules=virtio_pci,virtio_blk "$(ls /lib/modules)"
rm -f /etc/resolv.conf /etc/hostname /boot/initrd*
