#!/bin/sh
# Turns the containers' root filesystem into that of a virtual machine, which has no container engine to set it up.
# Runs inside the new root. Names, addresses and keys are not here: harness/provision/qemu.py passes them at boot.
set -eu
rm -f /root/customize.sh

# There is no udev: the few drivers that a machine needs are listed.
printf 'virtio_net\nvirtio_rng\n' > /etc/modules-load.d/pgcrucible.conf
systemctl --quiet enable networking.service

# systemd-tmpfiles writes the network configuration from the credentials, so it must run first.
install -d /etc/systemd/system/networking.service.d
printf '[Unit]\nAfter=systemd-tmpfiles-setup.service\n' > /etc/systemd/system/networking.service.d/pgcrucible.conf

# Units that no host uses; they take a sixth of the boot time of an emulated machine.
for unit in dev-hugepages.mount ifupdown-pre.service kmod-static-nodes.service modprobe@.service \
    proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service systemd-journal-flush.service \
    systemd-pstore.service systemd-remount-fs.service; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done

mktirfs -o /initrd --auto-modules=no --microcode=no --include-modules=virtio_pci,virtio_blk "$(ls /lib/modules)"
rm -f /etc/resolv.conf /etc/hostname /boot/initrd*
