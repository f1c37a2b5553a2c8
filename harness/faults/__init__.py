"""How a rig fails on purpose, and how that is undone.

`FAULTS` has an entry for each name of harness/plan/fault_schedule.py. To add one: a module or an entry of a family's
dict here, and a line there.
"""
