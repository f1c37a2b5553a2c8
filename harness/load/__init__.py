"""The load engine: what runs on the load hosts, and how the controller drives it.

On each load host the controller starts `python -m harness.load.agent` over SSH and exchanges lines with it:

    ->  the job, one JSON object (see job.py)
    <-  {"event": "ready", "connections": n, "clock": {"boot_id", "monotonic_us"}}
        all connections are open, nothing is sent yet
    ->  go                release now; `go 0.5` in half a second, `go @<us>` at an instant of CLOCK_MONOTONIC
    <-  {"event": "progress", "second", "phase", "sent", "ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms",
         "hosts": {app host: responses}, "errors": {name: requests}}
        once per second; a slow reader misses some, the files have all
    <-  {"event": "step", "step", "done", "p95_ms"}    a quarter second of the warm-up, numbered from 0
    ->  measure 7         only with a warm-up and several load hosts: the measured phase begins with second 7
    ->  stop              send nothing more, wait briefly for responses, write the results
    <-  {"event": "done", "summary": {...}}            exit code 0; the results are in the job's `out`
    <-  {"event": "error", "message": "one line"}      exit code 2

Standard input is the lifeline: when it ends before `done`, the agent stops as on `stop`. A controller that dies
or is interrupted leaves no load running.

`coordinator.Coordinator` decides when the warm-up of any number of agents ends, without I/O: pass it each event, and
send the line it returns to every agent. Collect the folders, then `merge.merge(folders, out)` makes one result of
them and `generator_checks.reasons(summary)` tells whether the generator was the limit.

Modules, in the order of the data: spec, job, schedule, request_builder (what to send and when: pure), connector,
tcp_state, connection, engine with closed_model, open_model and their variants twin_model and retry_model (sending),
outcome (classifies responses: pure), counters, sample_buffer, self_monitor (what is recorded), worker (one process from
start to files), worker_group, agent (the lines above), coordinator, steady_state, generator_checks and littles_law
(pure, also used by the controller), results (the files: samples, outcome_counts, histogram, summary, merge).
"""
