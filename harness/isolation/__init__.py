"""Which isolation anomalies occur: cases as data, a stepper that drives them, a judge that reads the record.

    cases -> stepper (postgres | sqlite) -> transcript -> judge -> matrix and findings

`python -m harness.isolation` is the part that runs beside the database; it records and does not judge.
"""
