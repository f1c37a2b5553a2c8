"""From counts and samples to figures: percentiles, statistics, telemetry totals, bottleneck, scaling law. Pure."""
