"""Every table and figure, made for real from networks of S4, against independent computations."""

import csv
import json
import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from rare import rare
from released import PEERS

import coset_circuits as cc
from coset_circuits.experiments import INTERVENTIONS, commuting_fraction
from coset_circuits.networks import cross_entropy, planted_coset
from coset_circuits.report.style import look
from coset_circuits.reproduction import ARTIFACTS, Study, table1, table3, table4
from coset_circuits.reproduction.fig4 import median_concentration
from coset_circuits.reproduction.fig6 import DULL, counts
from coset_circuits.reproduction.forming import _steps_to_show, null_concentration
from coset_circuits.reproduction.page import markdown, plain_text
from coset_circuits.training import split

RECIPE = {"d_mlp": 48, "d_embed": 48, "fraction": 0.8, "learning_rate": 0.03, "max_steps": 1500}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of S4 with checkpoints over training, one that has learnt nothing, a bad file."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        cc.train("S4", seed, out=folder / f"S4-seed{seed}", **RECIPE)
    untrained = cc.GroupMLP.initialised(cc.group("S4"), d_mlp=48, d_embed=48, seed=9)
    untrained.label = "untrained"
    cc.save(untrained, folder / "untrained.safetensors")
    (folder / "bad.pt").write_bytes(b"nonsense")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduction")


@pytest.fixture(scope="module")
def made(runs, out):
    return cc.reproduce("all", runs, out=out)


def part(made, name):
    (only,) = made[name].parts
    return only


def line(made, name, figure):
    (found,) = [found for found in part(made, name).lines if found.figure == figure]
    return found


def network(runs, seed):
    return cc.load(runs / f"S4-seed{seed}").double().requires_grad_(False)


def test_what_was_studied(made, runs):
    assert [n.name for n in made.networks] == ["S4-seed0", "S4-seed1", "untrained"]
    assert [n.grokked for n in made.networks] == [True, True, False]
    (why,) = made.skipped.values()
    assert "cannot be read as a checkpoint" in why
    assert [s.artifact.name for s in made.sections] == list(ARTIFACTS)
    assert made["table1"].parts[0].controls == ("untrained",)


def test_no_figure_of_s5_stands_beside_s4(made):
    for section in made.sections:
        for one in section.parts:
            if one.kind is not None and section.artifact.groups is not None:
                assert all(line.paper is None for line in one.lines)


def test_table1_is_the_mean_of_plain_forward_passes(made, runs):
    rows = []
    for seed in (0, 1):
        model = network(runs, seed)
        pairs = model.group.pairs()
        labels = model.group.products(pairs)
        left, right = (t[pairs[:, i]] for i, t in enumerate((model.left_table, model.right_table)))
        for pre in (left + right, left - right, -left - right):
            logits = pre.relu() @ model.W_U
            right_share = (logits.argmax(1) == labels).double().mean()
            rows.append([float(right_share), float(cross_entropy(logits, labels).mean())])
        rows.append([0, float(cross_entropy((left + right).abs() @ model.W_U, labels).mean())])
    found = np.array(rows).reshape(2, 4, 2)
    for k, id in enumerate(("base", "sign_right", "sign_both", "abs")):
        title = INTERVENTIONS[id].title
        if id != "abs":
            ours = line(made, "table1", f"{title}: acc.").ours
            assert ours == pytest.approx(found[:, k, 0].mean())
        assert line(made, "table1", f"{title}: loss").ours == pytest.approx(found[:, k, 1].mean())
        median = line(made, "table1", f"{title}: median").ours
        assert median == pytest.approx(np.median(found[:, k, 1]))


def test_inputs_exchanged_are_right_on_commuting_pairs(made):
    found = line(made, "table1", "inputs exchanged: acc.")
    assert found.control == commuting_fraction(cc.group("S4")) == 5 / 24
    assert found.ours == pytest.approx(found.control)


def test_twice_the_relu_is_both_sides_doubled(made):
    """Without biases they are the same function."""
    rows = {row[0]: row[1:] for row in part(made, "table1").tables[0].rows}
    assert rows["twice the activation"] == pytest.approx(rows["both × 2"], rel=1e-9)


def test_surrogates_predict_what_they_compute(made, runs):
    accuracy, loss = part(made, "table1").tables[1:]
    for table, show in ((accuracy, 0), (loss, 1)):
        assert list(table.columns)[1 : 2 + len(cc.ALGORITHMS)] == ["seen", *cc.ALGORITHMS]
        expected = []
        for seed in (0, 1):
            model = network(runs, seed)
            pairs = model.group.pairs()
            labels = model.group.products(pairs)
            logits = cc.CosetAlgorithm().fit(model).surrogate()(pairs).detach()
            # Answers that tie share the pair.
            best = logits >= logits.amax(1, keepdim=True) - 1e-6
            shares = best.gather(1, labels[:, None])[:, 0] / best.sum(1)
            right = float(shares.double().mean())
            expected.append((right, float(cross_entropy(logits, labels).mean()))[show])
        assert table.rows[0][2] == pytest.approx(np.median(expected))
    assert accuracy.rows[0][1] == 1.0
    # Tables are swapped where hypotheses say nothing: at the embeddings.
    assert set(accuracy.rows[1][2:]) == {None}


def test_table2_is_the_recipe_of_the_runs(made):
    for figure, value in (
        ("share of the pairs trained on", 0.8),
        ("networks", 2),
        ("neurons", 48),
        ("learning rate", 0.03),
    ):
        assert line(made, "table2", figure).ours == value


@pytest.mark.parametrize("name", ["S3", "C2"])
def test_table3_of_a_planted_circuit(name):
    """Two neurons of one (H, X) write the same there; those of another coset of H do not."""
    model = planted_coset(cc.group("S4"), name)
    found = table3.analyse(Study(model))
    count, total, squares = found[table3.SAME_COSET]
    index = 24 // (6 if name == "S3" else 2)
    conjugates = 4 if name == "S3" else 6
    assert count == conjugates * index
    assert total == pytest.approx(count) and squares == pytest.approx(count)
    other, sum_of_others, _ = found[table3.CLASS_NOT_COSET]
    assert other + count == math.comb(2 * conjugates * index, 2)
    assert sum_of_others / other < 0.1
    assert found[table3.RANDOM][0] == count


def test_table3_agrees_with_numpy(made, runs):
    found = {}
    for seed in (0, 1):
        circuit = cc.CosetAlgorithm().fit(network(runs, seed))
        roles = np.array(circuit.roles.names)
        known = np.flatnonzero(~np.isin(roles, DULL))
        matrix = np.corrcoef(circuit.network.W_U.detach().numpy())
        found[seed] = [matrix[i, j] for i in known for j in known if i < j]
    pooled = [value for values in found.values() for value in values]
    assert line(made, "table3", "any two: mean").ours == pytest.approx(np.mean(pooled))
    assert line(made, "table3", "any two: s.d.").ours == pytest.approx(np.std(pooled))


def test_table4_is_computed_where_it_says_so(made):
    found = {x.figure: x for x in part(made, "table4").lines}
    for n in (5, 6, 7):
        assert found[f"S{n}: subgroups"].ours == found[f"S{n}: subgroups"].paper
        assert found[f"S{n}: irreps"].ours == found[f"S{n}: irreps"].control
    for n in range(8, 13):
        assert found[f"S{n}: subgroups"].ours is None
        assert "cited" in found[f"S{n}: subgroups"].control_is
        assert found[f"S{n}: irreps"].ours == found[f"S{n}: irreps"].paper
    # Ramanujan's congruence: 5 divides the partitions of 5k + 4.
    assert table4.partitions(4) == 5 and table4.partitions(100) == 190569292
    assert all(table4.partitions(5 * k + 4) % 5 == 0 for k in range(20))


def test_table5_marks_what_is_wrong(made):
    entries, *wrong = part(made, "table5").lines
    assert (entries.paper, entries.ours, entries.control) == (102, 89, 13)
    assert len([x for x in wrong if " on (" in x.figure]) == 13
    (table,) = part(made, "table5").tables
    for row in table.rows:
        shares = [s for s in row[2:] if s != "–"]
        assert sum(int(a) / int(b or 1) for a, _, b in (s.partition("/") for s in shares)) == (
            pytest.approx(1)
        )


def test_fig2_has_the_four_paths_of_a_sign_neuron(made):
    exact = {x.figure: x.control for x in part(made, "fig2").lines}
    for found in part(made, "fig2").lines:
        assert found.paper == pytest.approx(exact[found.figure], abs=0.005)
    signs = {x.figure: x.ours for x in part(made, "fig2").lines}
    for path in ("even·even", "odd·odd"):
        assert abs(signs[f"{path}: pre-activation"]) < 0.2
    pre = [signs[f"{path}: pre-activation"] for path in ("even·odd", "odd·even")]
    assert sorted(np.sign(pre)) == [-1, 1]
    assert signs["firing: share of odd products"] == 1
    assert signs["silent: share of even products"] == pytest.approx(2 / 3)


def test_a_network_without_a_sign_neuron_says_so(tmp_path):
    made = cc.reproduce("fig2", [planted_coset(cc.group("S4"), "S3")])
    (why,) = made["fig2"].refused.values()
    assert "no sign neuron" in why and made["fig2"].parts == ()
    assert "no sign neuron" in " ".join(plain_text(made).split())


@pytest.mark.parametrize("name", ["fig3", "fig7", "fig8"])
def test_a_neuron_forms_on_its_cosets(made, runs, name):
    formed = part(made, name)
    first, *_, last = formed.tables[0].rows
    assert first[0] == "0" and int(last[0]) in {
        network(runs, seed).provenance["steps"] for seed in (0, 1)
    }
    # Concentrated at the end, and a random function's C at the start.
    assert last[2] < 0.2 < first[2] and last[3] < 1e-2 < first[3]
    if name == "fig8":
        assert "an A4 neuron" in formed.notes[0] and "similar" not in formed.notes[0]
    else:
        assert "most similar" in formed.notes[0]
    (drawing,) = formed.drawings
    figure = drawing.figure()
    sides = 1 if name == "fig3" else 2
    assert len(figure.axes) == 4 * sides
    for axes in figure.axes:
        # Every element of the group stands in one bar.
        assert sum(bar.get_height() for bar in axes.patches) == 24


def test_a_neuron_of_a_network_without_checkpoints_is_shown_as_it_is(runs):
    made = cc.reproduce(["fig3", "fig4"], [network(runs, 0)])
    assert "no checkpoints" in " ".join(part(made, "fig3").notes)
    assert len(part(made, "fig3").drawings[0].figure().axes) == 1
    assert "final states" in " ".join(part(made, "fig4").notes)
    assert not part(made, "fig4").drawings


def test_null_concentration_is_that_of_random_functions():
    from coset_circuits.algorithms import concentration

    group = cc.group("S4")
    for name in ("A4", "S3", "D8", "C2"):
        subgroup = next(c for c in group.subgroup_classes if c.name == name).representative
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(24, 4000, generator=generator, dtype=torch.float64)
        mean = float(concentration(random, subgroup.right_cosets).mean())
        assert mean == pytest.approx(null_concentration(24, subgroup.index), rel=0.02)


def test_steps_to_show_are_where_it_forms():
    falling = [1.0, 0.9, 0.09, 9e-3, 9e-4, 1e-4, 1e-4, 1e-4]
    # A quarter, half and three quarters of the four decades are gone just after these.
    assert _steps_to_show(falling) == [1, 2, 3, 7]
    assert _steps_to_show([1e-3]) == [0]
    assert _steps_to_show([1.0, 1e-4]) == [0, 1]


def test_fig4_is_measured_on_pairs_not_trained_on(made, runs):
    rows = part(made, "fig4").tables[0].rows
    model = network(runs, 0)
    held_out = split(model.group, 0.8, 0)[1]
    logits = model(held_out)
    loss = float(cross_entropy(logits, model.group.products(held_out)).mean())
    assert rows[-1][1] == pytest.approx(loss)
    circuit = cc.CosetAlgorithm().fit(model)
    assert rows[-1][3] == pytest.approx(median_concentration(circuit))
    steps = [int(row[0]) for row in rows]
    assert steps == sorted(steps) and steps[0] == 0
    assert rows[-1][3] < rows[0][3] and rows[-1][1] < rows[0][1]
    # On a relabelled group nothing concentrates.
    assert rows[-1][4] > 1


def test_fig5_ends_where_nothing_or_everything_is_removed(made, runs):
    above, below = part(made, "fig5").tables
    for table in (above, below):
        neurons = [row[1] for row in table.rows]
        assert neurons == sorted(neurons, reverse=table is above)
        for row in table.rows:
            assert row[2] <= row[3] <= row[4]
    for one, other in zip(above.rows, below.rows, strict=True):
        assert one[1] + other[1] == 48
    for findings in _findings(made, runs, "fig5"):
        for row in findings["rows"]:
            if row["neurons"] == 0:
                assert row["accuracy"] == findings["accuracy"] == 1.0
            if row["neurons"] == 48:
                # Nothing is left but one answer for all pairs.
                assert row["accuracy"] == pytest.approx(1 / 24)


def _findings(made, runs, name):
    analyse = ARTIFACTS[name].analyse
    assert analyse is not None
    for one in made.networks[:2]:
        yield analyse(Study(cc.load(runs / one.name), folder=runs / one.name))


def test_fig6_counts_every_neuron_once(made, runs):
    (table,) = part(made, "fig6").tables
    assert sum(row[2] for row in table.rows) == 2 * 48
    for seed in (0, 1):
        found = counts(cc.CosetAlgorithm().fit(network(runs, seed)))
        assert sum(found.values()) == 48
    relabelled = line(made, "fig6", "neurons with a subgroup, mean")
    assert relabelled.control < 0.1 < relabelled.ours


def test_section7_is_the_evidence_of_each_network(made, runs):
    found = [cc.gcr_evidence(network(runs, seed)).summary().iloc[0] for seed in (0, 1)]
    for title, column in (("left embedding, mean", "left"), ("unembedding, mean", "unembed")):
        expected = np.mean([row[column] for row in found])
        assert line(made, "section7", title).ours == pytest.approx(expected)
    expected = np.median([row["excluded_loss"] for row in found])
    assert line(made, "section7", "excluded loss, median").ours == pytest.approx(expected)


def test_tables_fit_a_terminal(made, runs):
    for text in (plain_text(made), plain_text(cc.reproduce("table1", runs))):
        for row in text.splitlines():
            assert len(row) <= 80 or str(runs) in row, row
        assert "\x1b" not in text


def test_the_folder_has_every_table_and_figure(made, out):
    content = json.loads((out / "reproduction.json").read_text())
    assert content == made.to_dict()
    page = (out / "reproduction.md").read_text()
    assert page == markdown(made) and made.command in page
    for section in content["sections"]:
        assert f"## {section['name']}: " in page
        for one in section["parts"]:
            for figure in one["figures"]:
                svg = out / figure["file"]
                assert figure["file"] in page
                root = ET.fromstring(svg.read_text())
                # An axis whose numbers are formulas would show their source.
                assert "$" not in "".join(root.itertext())
                assert svg.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
            for table in one["tables"]:
                with (out / table["csv"]).open() as file:
                    rows = list(csv.reader(file))
                assert len(rows) == len(table["rows"]) + 1


def test_panels_draw_on_the_axes_they_are_given(made):
    for section in made.sections:
        for one in section.parts:
            for drawing in one.drawings:
                for panel in (p for row in drawing.panels for p in row):
                    with look():
                        axes = Figure().add_subplot()
                        assert panel(axes) is axes
                    assert axes.get_xlabel() and axes.get_title() is not None


def test_a_second_call_analyses_nothing(made, runs, out, monkeypatch):
    monkeypatch.setattr(Study, "__init__", lambda *a, **k: pytest.fail("a network was read again"))
    again = cc.reproduce("all", runs, out=out)
    assert again.to_dict() == made.to_dict()


def test_a_second_call_draws_nothing_unless_a_file_is_gone(made, runs, out, monkeypatch):
    assert made.is_saved_in(out)
    drawn = []
    draw = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda *a, **k: (drawn.append(a), draw(*a, **k)))
    cc.reproduce("all", runs, out=out)
    assert not drawn
    picture = next((out / "figures").glob("fig8*.png"))
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-1])
    with pytest.raises(cc.CosetCircuitsError, match="was changed since it was"):
        cc.reproduce("all", runs, out=out)
    picture.unlink()
    drawn.clear()
    cc.reproduce("all", runs, out=out)
    assert drawn and picture.read_bytes() == whole


def test_one_part_is_not_taken_for_another(tmp_path):
    for name in ("table4", "table5"):
        assert cc.reproduce(name, out=tmp_path).is_saved_in(tmp_path)
        assert list((tmp_path / "tables").glob(f"{name}*"))


def test_what_changed_is_analysed_again(made, runs, out):
    steps = sorted((runs / "S4-seed1" / "checkpoints").glob("step-*.safetensors"))
    before = steps[3].read_bytes()
    steps[3].write_bytes(steps[4].read_bytes())
    try:
        again = cc.reproduce("fig8", runs, out=out)
        assert again["fig8"].parts
        assert cc.reproduce("fig8", runs).to_dict()["sections"] == again.to_dict()["sections"]
    finally:
        steps[3].write_bytes(before)


def test_stopped_calls_go_on(made, runs, tmp_path):
    def stop(text, done, total):
        if "table3" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cc.reproduce(["table2", "table3"], runs, out=tmp_path, progress=stop)
    kept = {p.parent.parent.name for p in tmp_path.rglob("asked.json")}
    assert kept == {"about", "table2"}
    again = cc.reproduce(["table2", "table3"], runs, out=tmp_path)
    assert again["table3"].parts[0].lines == made["table3"].parts[0].lines


@pytest.mark.parametrize(
    ("what", "words"), [("table9", "table1, table2"), ([], "choose among"), ("Fig3", "'Fig3'")]
)
def test_unknown_names_are_refused(what, words):
    with pytest.raises(cc.CosetCircuitsError, match=words):
        cc.reproduce(what, "s4")


def test_no_network_is_needed_for_counting(monkeypatch):
    made = cc.reproduce("table5")
    assert made.networks == () and "89" in plain_text(made)


def test_networks_none_of_which_has_learnt():
    untrained = cc.GroupMLP.initialised(cc.group("S3"), d_mlp=8, d_embed=8)
    made = cc.reproduce(["table1", "fig6"], [untrained])
    assert all(section.parts == () for section in made.sections)
    assert "No network of S3, 8 relu neurons has learnt its group" in markdown(made)


QUICK = ["table2", "table3", "fig2", "fig6"]
LONG = ["table1", "table4"]
"""Interventions on all pairs of S5, one by one, take most of the time on a wide transformer."""


@pytest.mark.parametrize(
    "what",
    [
        QUICK,
        pytest.param([name for name in ARTIFACTS if name not in LONG], marks=pytest.mark.slow),
        pytest.param(["all"], marks=rare),
    ],
)
def test_everything_is_made_of_a_transformer_too(tmp_path, what):
    """The shipped one beside an MLP of its group; what a transformer lacks is left out by name."""
    networks = ["s5_transformer", *(["s5"] if what is QUICK else [])]
    made = cc.reproduce(what, networks, out=tmp_path)
    kinds = ["S5, 128 relu neurons", "S5, transformer, 512 relu neurons"][-len(networks) :]
    for section in made.sections:
        assert not section.refused, section.artifact.name
        titles = sorted(part.kind.title for part in section.parts if part.kind is not None)
        assert titles == (kinds if section.artifact.analyse is not None else [])
    assert (tmp_path / "figures" / "fig6-S5-512-relu-transformer.svg").is_file()

    def ours(name, figure):
        (part,) = [p for p in made[name].parts if p.kind.kind == "transformer"]
        (found,) = [line for line in part.lines if line.figure == figure]
        return found

    network = cc.load("s5_transformer")
    assert ours("table2", "neurons").ours == network.cfg.d_mlp
    assert ours("table2", "embedding").ours == network.cfg.d_model
    assert ours("table2", "steps (full batch: epochs)").ours == network.provenance["steps"]
    roles = cc.CosetAlgorithm().fit(network.double()).roles.names
    dull = sum(role in DULL for role in roles)
    covered = ours("fig6", "neurons with a subgroup, mean")
    assert covered.ours == pytest.approx(1 - dull / len(roles))
    assert covered.control < 0.05
    if what == ["all"]:
        check_flipped(made, network)


def test_interventions_on_a_transformer_are_those_of_its_hooks(unchecked):
    sizes = {"d_model": 16, "n_heads": 1, "d_head": 8, "d_mlp": 48}
    network = cc.train(
        "S3", 0, architecture="transformer", fraction=1, max_steps=800, **sizes
    ).double()
    made = cc.reproduce(LONG, [network])
    assert all(section.parts and not section.refused for section in made.sections)
    check_flipped(made, network)


def check_flipped(made, network):
    (one,) = [part for part in made["table1"].parts if part.kind.kind == "transformer"]
    ours = {line.figure: line.ours for line in one.lines}
    assert ours["embedding tables swapped: acc."] is None
    assert "no embedding table on each side" in markdown(made)
    pairs = network.group.pairs()
    logits = network.run_with_hooks(pairs, fwd_hooks=[("hook_left_pre", lambda x, hook: -x)])
    losses = cross_entropy(logits, network.group.products(pairs))
    assert ours["left sign flipped: loss"] == pytest.approx(float(losses.detach().mean()))


def test_a_transformer_to_which_cosets_do_not_apply_is_refused_with_the_reason():
    """Attention that multiplies; so trained that it answers for the pairs it has seen."""
    group = cc.group("C4")
    network = cc.train(
        group,
        0,
        architecture="transformer",
        d_model=16,
        n_heads=2,
        d_head=8,
        d_mlp=32,
        fraction=1,
        max_steps=600,
    )
    assert network.additive_share < 0.99
    made = cc.reproduce(["table2", "table3", "fig6"], [network])
    assert made["table2"].parts and not made["fig6"].parts
    for name in ("table3", "fig6"):
        assert "is an interaction of its two inputs" in made[name].refused[network.label]


@pytest.mark.slow
def test_networks_of_chughtai_et_al(tmp_path):
    """Eight S5 networks beside figures measured independently on fifty (HYPOTHESES, section 4)."""
    folders = [PEERS / f"S5_MLP_seed{seed}" for seed in range(1, 9)]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip(f"the networks of Chughtai et al. are not at {PEERS}")
    made = cc.reproduce(["table2", "table3", "fig2", "fig6", "section7"], folders)
    assert line(made, "table2", "steps (full batch: epochs)").ours == 250_000
    keyed = line(made, "table3", "same coset: mean")
    assert keyed.control == pytest.approx(0.98, abs=0.02)
    assert keyed.ours < keyed.control
    assert line(made, "fig6", "networks with an A5 neuron").ours == 1
    # One of the eight has none, though every network of Stander et al. had.
    assert line(made, "fig6", "networks with an S4 neuron").ours == 7 / 8
    assert line(made, "section7", "largest difference, shares: absolute").ours < 3e-7
    assert line(made, "section7", "largest difference, losses: relative").ours < 2e-6
    models = {"network": cc.load(folders[1]).double()}
    for id, loss in (("base", 2.38e-6), ("sign_left", 31.8), ("abs", 4.9e-13), ("double", 8.5e-13)):
        pairs = models["network"].group.pairs()
        outcome = cc.measure(INTERVENTIONS[id], models, pairs)["network"]
        assert outcome.loss == pytest.approx(loss, rel=0.02)
    assert set(table1.PAPER) <= set(INTERVENTIONS)
