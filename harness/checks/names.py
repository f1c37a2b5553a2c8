"""The names of all checks, once. Pure.

A name is stored in run.yml with its finding, so a change also needs an entry in harness/store/manifest.py, OLD_NAMES.
"""

from __future__ import annotations

# every scenario
CHECKS_COMPLETED = "checks completed"
"""Reported only where a trial's checks raised an error."""
COMPARISON_COMPLETED = "comparison completed"
"""Reported only where a scenario's comparison of its trials raised an error."""
ACKNOWLEDGED = "acknowledged"
SPREAD = "spread"
COUNTS_AGREE = "counts agree"
SLO = "SLO"
"""With --slo."""
SLOWEST = "where the slowest requests waited"

# increments
FINAL_VALUE = "final value"
VALUE_SEQUENCE = "value sequence"
REAL_TIME_ORDER = "real-time order"
LEDGER = "ledger"
TRANSACTIONS = "transactions"
INTEGRITY = "integrity"
PRAGMAS = "pragmas"
DURABILITY = "durability"
NEGATIVE_CONTROL = "negative control"
PER_REQUEST = (VALUE_SEQUENCE, REAL_TIME_ORDER, LEDGER)
"""The checks that need samples."""
ORACLE = (FINAL_VALUE, *PER_REQUEST)
"""The checks of the counter oracle."""

# scenarios list-append and bank
NO_FORBIDDEN_ANOMALY = "no forbidden anomaly"
ALLOWED_ANOMALY = "allowed anomaly occurs"
STRICT = "strict serializability"
TOTAL = "total never changes"
NO_OVERDRAFT = "no overdraft"

# scenario bulk-insert
ALL_OR_NOTHING = "all or nothing"
FAILED_REQUEST_ROWS = "a failed request leaves no row"
IDS_EXIST_ONCE = "returned ids exist once"

# scenario capacity
CAPACITY = "capacity"
AT_THE_KNEE = "saturated at the knee"

# scenario connections
CONCURRENT_REQUESTS = "concurrent requests"
CLEAN_REFUSAL = "clean refusal"
RECOVERY = "recovery"

# scenarios deadlocks and isolation
ONE_VICTIM = "one victim per pair"
SURVIVOR_COMMITS = "survivor commits"
DEADLOCKS_COUNTED = "deadlocks counted"
DEADLOCKS_IN_LOG = "deadlocks in the log"
DETECTED_IN_TIME = "detected after deadlock_timeout"
RETRY_COMMITS_BOTH = "retry commits both"
UPDATES_APPLIED = "committed updates applied"
DEADLOCK_COUNTS_AGREE = "deadlock counts agree"
DOCUMENTED_GUARANTEES = "documented guarantees hold"
ISOLATION_LEVEL = "requested isolation level"

# scenario faults
NOTHING_LOST = "nothing lost"
NOTHING_DOUBLED = "nothing doubled"
NOTHING_INVENTED = "nothing invented"
HONEST = "outcomes are honest"
FAULT_SEEN = "fault seen"
HEALED = "healed"
RECOVERS = "recovers by itself"
OUT_OF_ROTATION = "out of rotation"
NO_FAILED_REQUEST = "no failed request"
ENDED = "requests end in time"
AVAILABILITY = "availability"
ACCOUNTED = (NOTHING_LOST, NOTHING_DOUBLED, NOTHING_INVENTED, HONEST)
"""The checks that account for every request of a trial with faults."""
WRITES = (*ORACLE, *ACCOUNTED)
"""The checks that must pass for a claim that no acknowledged write is lost."""
LOSSES = (FINAL_VALUE, NOTHING_LOST, NEGATIVE_CONTROL)
"""The checks that count lost updates, as `lost` of their numbers."""

# scenario long-transactions
LONG_TRANSACTION = "long transaction"
QUICK_IN_TIME = "quick transactions in time"
QUICK_IN_TIME_ALONE = "quick transactions in time, alone"
HELD_ROW_WAITS = "waits for the held row"
QUICK_P90 = "quick p90"
DEAD_ROWS = "dead rows"
DEAD_ROWS_KEPT = "dead rows kept"

# scenarios pool-sweep and scaling
EFFECTIVE_POOL_SIZE = "effective pool size"
TIME_RATIO = "t({}) < {} t({})"
"""With pool size, limit, pool size."""
KNEE = "knee"
POOL_LIMIT = "throughput within the pool's limit"
SPEED_UP = "speed-up {} hosts"
SPEED_UP_CPU = "cpu-bound speed-up"

ABOUT_SPEED = (SLO, CAPACITY, SPEED_UP_CPU, QUICK_IN_TIME, QUICK_IN_TIME_ALONE)
"""Checks that fail where the service is slow or refuses too much. Those of SPEED_UP and TIME_RATIO do too."""

NEED_A_GENERATOR = (CONCURRENT_REQUESTS, QUICK_IN_TIME, QUICK_IN_TIME_ALONE, EFFECTIVE_POOL_SIZE)
"""Checks that a slow load generator, or a machine that others use, can make fail."""

# scenario sqlite-vs-postgres
CLAIM = "claim: "
"""Before the name of the claim."""
