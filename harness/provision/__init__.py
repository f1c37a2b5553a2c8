"""Turns an inventory into running hosts: providers, images, code bundle, Ansible, doctor, status."""
