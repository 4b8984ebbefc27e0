"""What the small commands print fits the terminal, breaks nowhere inside a value, and has no colour
where none is wanted."""

import pytest

import coset_circuits as cc
from coset_circuits.report.groups import group_dict, print_group
from coset_circuits.report.terminal import plainly


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ["S5", "S3xS3", "C1", "D59", "Q8"])
def test_a_groups_tables_fit_and_break_between_values(name, width):
    described = group_dict(cc.group(name))
    text = plainly(lambda console: print_group(described, console), width)
    assert max(map(len, text.splitlines())) <= width
    for c in described["subgroups"]:
        for generator in c["generators"]:
            assert generator in text
        for irrep, (top, bottom) in c["spectrum"].items():
            if top:
                assert (f"{irrep} {top}/{bottom}" if bottom > 1 else f"{irrep} {top}") in text
    assert "\x1b" not in text
