"""The order of a bench: configure, load, read, store; then evaluate."""
