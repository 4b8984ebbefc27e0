"""``coset-circuits group``."""

from __future__ import annotations

from coset_circuits.cli.options import GroupName, Json
from coset_circuits.cli.running import conclude, progress_bar


def group(name: GroupName, as_json: Json = False) -> None:
    """Describe a group: conjugacy classes, subgroups, irreps, spectra of coset indicators."""
    from coset_circuits.groups import group as named_group
    from coset_circuits.report.groups import group_dict, print_group

    with progress_bar("subgroups and spectra", hidden=as_json):
        described = group_dict(named_group(name))
    conclude(lambda: described, lambda: print_group(described), as_json=as_json)
