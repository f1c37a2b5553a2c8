"""pgcrucible's controller and load engine: plans a bench, runs it, and judges what it stored.

The packages in the order of the data; docs/architecture.md explains the layers.

    cli/           what each task does: bench, runs (check, report, compare), rigs, quickstart, watch, dev
    provision/     from an inventory to hosts: providers (podman, vm, static), image, code bundle, Ansible
    rig/           a provisioned rig and how to reach it: state, connections, SSH, tunnel, network
    host_scripts/  standard-library scripts that are piped to a host's Python
    plan/          what a bench does, decided before anything is touched: options, scenario contract, planner
    scenarios/     one file per scenario: its cells, its workload, its checks
    targets/       what a bench runs against: a rig or a service at a URL, and how their counters are read
    faults/        how a rig fails on purpose, and how that is undone
    load/          the load engine on the load hosts, and the coordinator that leads it
    isolation/     isolation cases, the stepper that runs them, the evaluation of their transcripts
    measure/       the order of a bench: configure, load, read, store
    store/         a run on disk: writer, reader, file formats
    checks/        from samples and evidence to findings: the counter oracle, traffic checks
    analysis/      from samples to figures: statistics, trial validity, host drift, bottleneck, scaling law
    histories/     the transactions of a load, and the anomalies that they prove
    compare/       two stored runs compared: environments, cells, noise floor, gate
    report/        a stored run as text and as a page: summary, sections, charts
    selfbench/     benchmarks of pgcrucible itself
    results.py     stored runs as lists of dicts and frames, for other programs

    errors.py model.py record.py fault_record.py text.py
                   the error tree; the words of the project as data; what one trial left; what became of a fault; text
                   for people
"""

__version__ = "0.1.0"
