"""Where hosts come from: podman (system containers), vm (QEMU) and static (any SSH machines)."""
