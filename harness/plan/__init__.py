"""The plan of a bench as a pure function of options, site and seed."""
