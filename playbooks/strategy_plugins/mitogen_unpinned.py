"""Ansible strategy: Mitogen's linear one, on all cores.

Mitogen pins its multiplexer to the first core and, where there are fewer than four, Ansible and all its workers to the
others (ansible_mitogen/affinity.py). On two cores that leaves one for nearly all of the work, which the hosts, being
containers of the same machine, want too. The scheduler knows better.
"""

from __future__ import annotations

import ansible_mitogen.affinity

ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()  # before anything is started: pins nothing

import ansible_mitogen.loaders  # noqa: E402
import ansible_mitogen.strategy  # noqa: E402
from ansible.plugins.loader import filter_loader, test_loader  # noqa: E402

for _plugins in (filter_loader, test_loader):
    list(_plugins.all())  # or each worker, forked for one task on one host, finds them anew: 6 % of Ansible's CPU time


class StrategyModule(
    ansible_mitogen.strategy.StrategyMixin,
    ansible_mitogen.loaders.strategy_loader.get("linear", class_only=True),
):
    """What Ansible looks for in a strategy plugin."""
