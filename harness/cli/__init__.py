"""What each task does: bench, runs (check, report, compare), rigs (doctor, provision, status …), watch, dev."""
