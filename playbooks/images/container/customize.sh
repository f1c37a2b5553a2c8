#!/bin/sh
# Turns a Debian root filesystem with the roles' packages into a host that Ansible can configure.
# Runs inside the new root (mmdebstrap's chroot, or a Containerfile's RUN), with sshd.conf beside it.
set -eu
cd /root

# Each host gets its own SSH host key when it is made; a key shared by all hosts would identify none.
rm -f /etc/ssh/ssh_host_*
install -m 0644 sshd.conf /etc/ssh/sshd_config.d/pgcrucible.conf
install -d -m 0700 /root/.ssh

# A host runs sshd, the journal and the services of its roles only: no database that a package's script enabled, no
# timer that fires during a measurement.
for wants in multi-user timers; do
    for unit in /etc/systemd/system/$wants.target.wants/*; do
        [ "${unit##*/}" = ssh.service ] || rm -f "$unit"
    done
done
for unit in getty.target console-getty.service systemd-logind.service systemd-timesyncd.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-tmpfiles-clean.timer; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
# Kernel file systems that no service needs. They must not be jobs of the boot: when mounts change quickly, as while
# containers start, systemd 252 postpones mount jobs and may never resume them. The boot then waits for ever (seen in
# two of four hosts on a busy machine).
for unit in dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target /etc/systemd/system/default.target

# The journal stays in memory and small: only the database writes to the disk of a host.
install -d /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n' > /etc/systemd/journald.conf.d/pgcrucible.conf

# The role common adds the names of the rig; podman is configured not to change this file.
printf "127.0.0.1 localhost\n::1 localhost\n" > /etc/hosts

update-ca-certificates >/dev/null 2>&1
: > /etc/machine-id
rm -f customize.sh sshd.conf
