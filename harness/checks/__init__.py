"""From samples and evidence to findings: the counter oracle, traffic checks, evaluation. Pure."""
