"""What a bench runs against: a rig, or any service at a URL, and how their counters are read."""
