"""pgcrucible's controller: plans, starts, collects and judges. See README.md for the vocabulary."""

__version__ = "0.1.0"
