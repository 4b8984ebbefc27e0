"""All subgroups of S5, S6 and S7 beside GAP on the same machine; processor times, printed with -s.

Each of ours runs in a process of its own, so that its peak memory can be told. GAP's time is that
of ConjugacyClassesSubgroups alone, measured inside GAP.
"""

import json
import shutil
import subprocess
import sys
from functools import cache

import pytest

pytestmark = pytest.mark.slow

# Degree: classes, subgroups, pairs of a class's representative and a maximal subgroup of it; the
# processor seconds that the search may take, several times those it takes.
KNOWN = {5: (19, 156, 98, 10), 6: (56, 1455, 435, 10), 7: (96, 11300, 1029, 300)}

OURS = r"""
import json, re, sys, time
from pathlib import Path
from coset_circuits.groups.families import symmetric
from coset_circuits.groups.lattice import SubgroupLattice

def peak():
    status = Path("/proc/self/status")
    held = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(held[1]) // 1024 if held else 0

def timed(work):
    begun = time.process_time()
    result = work()
    return result, time.process_time() - begun

before = peak()
group, table = timed(lambda: symmetric(int(sys.argv[1])))
with_table = peak()
classes, search = timed(lambda: group.subgroup_classes)
edges, lattice = timed(lambda: SubgroupLattice(group).edges)
print(json.dumps(dict(
    counts=[len(classes), len(group.subgroups), sum(edge.below for edge in edges)],
    table=table, search=search, lattice=lattice,
    import_mb=before, table_mb=with_table, peak_mb=peak(),
)))
"""

GAPS = """
if not IsBound(GAPInfo.PackagesLoaded.transgrp) then
  InstallGlobalFunction(TransitiveGroupsAvailable, ReturnFalse);
fi;
if not IsBound(GAPInfo.PackagesLoaded.primgrp) then
  InstallGlobalFunction(PrimitiveGroupsAvailable, ReturnFalse);
fi;
begun := Runtime();;
group := SymmetricGroup({degree});;
classes := ConjugacyClassesSubgroups(group);;
searched := Runtime();;
pairs := Sum(MaximalSubgroupsLattice(LatticeSubgroups(group)), Length);;
Print("[[", Length(classes), ",", Sum(classes, Size), ",", pairs, "],",
  searched - begun, ",", Runtime() - searched, "]\\n");
QUIT;
"""


@cache
def ours(degree):
    command = [sys.executable, "-c", OURS, str(degree)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return json.loads(done.stdout)


def gaps(program, degree):
    done = subprocess.run(
        [program, "-q", "-T", "-r", "-n"],
        input=GAPS.format(degree=degree),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    counts, search, lattice = json.loads(done.stdout.strip().splitlines()[-1])
    return counts, search / 1000, lattice / 1000


@pytest.mark.parametrize("degree", KNOWN)
def test_all_subgroups_of_a_symmetric_group(degree):
    *known, most = KNOWN[degree]
    mine = ours(degree)
    assert mine["counts"] == known
    assert mine["search"] < most
    print(
        f"\nS{degree}: Cayley table {mine['table']:.2f} s, all subgroups {mine['search']:.2f} s, "
        f"Hasse diagram {mine['lattice']:.2f} s; peak memory {mine['peak_mb']} MB, of which "
        f"imports {mine['import_mb']} MB and the table {mine['table_mb'] - mine['import_mb']} MB "
        "(0 where the system does not tell)"
    )


@pytest.mark.parametrize("degree", KNOWN)
def test_beside_gap(degree):
    program = shutil.which("gap")
    if program is None:
        pytest.skip("GAP is not installed, so there is nothing to measure against")
    *known, _ = KNOWN[degree]
    mine = ours(degree)
    counts, search, lattice = gaps(program, degree)
    assert counts == mine["counts"] == known
    print(
        f"\nS{degree}, ours / GAP: subgroups {mine['search']:.2f} s / {search:.2f} s = "
        f"{mine['search'] / search:.2f}; Hasse diagram {mine['lattice']:.2f} s / {lattice:.2f} s = "
        f"{mine['lattice'] / lattice:.2f}"
    )
