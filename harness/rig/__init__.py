"""A provisioned rig and how to reach it: stored state, SSH connections, tunnel, network."""
