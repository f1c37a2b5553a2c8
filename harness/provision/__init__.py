"""From an inventory to running hosts: inventory, providers, images, code bundle, Ansible, doctor, status."""
