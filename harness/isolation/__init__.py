"""Which isolation anomalies occur: cases as data, a stepper that runs them, an evaluation of the transcripts.

    cases -> stepper (postgres_driver | sqlite_driver) -> transcript -> observe -> matrix and findings

`python -m harness.isolation` runs on a host beside the database. It records transcripts and evaluates nothing.
"""
