"""Benchmarks of pgcrucible itself: service, load engine, provisioning, analysis."""
