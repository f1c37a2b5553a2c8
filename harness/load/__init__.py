"""The load engine: what runs on the load hosts, and how the controller leads it.

On each load host the controller starts `python -m harness.load.agent` over SSH and speaks with it in lines:

    ->  the job, one JSON object (job.py says what is in it)
    <-  {"event": "ready", "connections": n, "clock": {"boot_id", "monotonic_us"}}
        all connections are open, nothing is sent yet
    ->  go                release now; `go 0.5` in half a second, `go @<us>` at an instant of CLOCK_MONOTONIC
    <-  {"event": "progress", "second", "phase", "sent", "ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms"}
        once a second; a slow reader misses some, the files have them all
    <-  {"event": "step", "step", "done", "p95_ms"}    a quarter second of the warm-up, numbered from 0
    ->  measure 7         only with a warm-up and several load hosts: the measured phase begins with second 7
    ->  stop              send nothing more, wait briefly for answers, write what there is
    <-  {"event": "done", "summary": {...}}            exit code 0; the results are in the job's `out`
    <-  {"event": "error", "message": "one line"}      exit code 2

Standard input is the lifeline: when it ends before `done`, the agent stops as if told to. A controller that dies
or is interrupted leaves no load running.

`conduct.Conductor` holds the order of these lines for any number of agents, without doing I/O: feed it each event,
send what it returns to every agent. Collect the folders, then `merge.merge(folders, out)` makes one result of them
and `innocence.reasons(summary, ceiling_rps)` says whether the generator was the limit.

Modules, in the order of the data: job, schedule, request (what to send and when: pure), protocol (one connection),
engine (the driver), answer (what an answer means: pure), recorder, hist, samples (what is kept), warmup (how it goes),
worker (one process from start to files), agent (the lines above), conduct, steady, merge, innocence (used by the
controller too: pure, but for the files merge reads and writes).
"""
