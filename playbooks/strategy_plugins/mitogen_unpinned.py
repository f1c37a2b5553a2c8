"""Ansible strategy: Mitogen's linear strategy without CPU pinning.

Mitogen pins its multiplexer to the first core. With fewer than four cores it pins Ansible and all its workers to the
others (ansible_mitogen/affinity.py). On two cores nearly all of the work would run on one core, which the containers
on the same machine need too.
"""

from __future__ import annotations

import ansible_mitogen.affinity

ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()  # must be set before the import of the strategy

import ansible_mitogen.loaders  # noqa: E402
import ansible_mitogen.strategy  # noqa: E402
from ansible.plugins.loader import filter_loader, test_loader  # noqa: E402

for _plugins in (filter_loader, test_loader):
    list(_plugins.all())  # loads them once; else each forked worker searches for them: 6 % of Ansible's CPU time


class StrategyModule(
    ansible_mitogen.strategy.StrategyMixin,
    ansible_mitogen.loaders.strategy_loader.get("linear", class_only=True),
):
    """Ansible finds the strategy by this name."""
