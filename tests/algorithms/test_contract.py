"""What every algorithm and every circuit promises, whichever hypothesis it is."""

import copy
import math

import pytest
import torch

import coset_circuits as cc
from coset_circuits import (
    Algorithm,
    Circuit,
    CosetAlgorithm,
    CosetCircuitsError,
    GroupMLP,
    IrrepAlgorithm,
    Thresholds,
)
from coset_circuits.algorithms import ALGORITHMS as REGISTRY
from coset_circuits.algorithms import Roles, nulls
from coset_circuits.networks import SITES, planted_coset

FORMS = [form for forms in REGISTRY.values() for form in forms]
ALGORITHMS = {a.name: a for a in (*FORMS, *nulls(Thresholds()))}


@pytest.fixture(params=list(ALGORITHMS))
def algorithm(request):
    return ALGORITHMS[request.param]


@pytest.fixture(params=["coset", "gcr", "untrained"])
def network(request, coset_network, gcr_network, untrained):
    return {"coset": coset_network, "gcr": gcr_network, "untrained": untrained}[request.param]


@pytest.fixture
def circuit(algorithm, network):
    return algorithm.fit(network)


def test_forms_have_names_of_their_own_and_lead_with_the_plain_one():
    names = [form.name for forms in cc.ALGORITHMS.values() for form in forms]
    assert len(set(names)) == len(names)
    for forms in cc.ALGORITHMS.values():
        assert forms[0].claims == ()
        assert all(form.name.endswith("".join(f"+{c}" for c in form.claims)) for form in forms)


def test_circuits_keep_the_protocol(algorithm, circuit, network):
    assert isinstance(algorithm, Algorithm)
    assert isinstance(circuit, Circuit)
    assert circuit.name == algorithm.name
    assert circuit.network is network


def test_a_surrogate_has_the_networks_sites_and_neurons(circuit, network):
    surrogate, cfg = circuit.surrogate(), network.cfg
    pairs = network.group.pairs()
    assert surrogate.left_table.shape == surrogate.right_table.shape == (cfg.order, cfg.d_mlp)
    _, cache = surrogate.run_with_cache(pairs)
    assert list(cache) == [site for site in SITES if site not in circuit.silent]
    _, own = network.run_with_cache(pairs)
    for site, value in cache.items():
        assert value.shape == own[site].shape and value.dtype == own[site].dtype
    assert surrogate.group is network.group


def test_the_default_claims_are_the_default(circuit, network):
    pairs = network.group.pairs()
    named = circuit.surrogate(circuit.default_claims)
    assert torch.equal(named(pairs), circuit.surrogate()(pairs))


def test_a_surrogate_has_its_networks_scale_for_noise(circuit, network):
    torch.testing.assert_close(circuit.surrogate().pre_scale, network.pre_scale)


def test_a_surrogate_has_its_networks_dtype(algorithm, untrained):
    single = copy.deepcopy(untrained).float()
    surrogate = algorithm.fit(single).surrogate()
    assert surrogate.dtype == torch.float32
    assert surrogate(single.group.pairs()).dtype == torch.float32


def test_classes_label_every_element_for_every_neuron(circuit, network):
    shape = (network.cfg.order, network.cfg.d_mlp)
    for site in SITES:
        for classes in circuit.classes(site):
            given = [x for x in (classes.left, classes.right, classes.product) if x is not None]
            assert given and classes.name
            for labels in given:
                assert labels.shape == shape and not labels.is_floating_point()
                assert labels.min() == 0


def test_roles_have_a_row_a_neuron(circuit, network):
    roles, frame = circuit.roles, circuit.roles.to_dataframe()
    assert len(roles.names) == len(frame) == network.cfg.d_mlp
    assert sum(row["neurons"] for row in roles.summary()) == network.cfg.d_mlp
    assert frame["neuron"].tolist() == list(range(network.cfg.d_mlp))
    assert ((frame["fvu_left"] >= 0) & (frame["fvu_left"] <= 1 + 1e-9)).all()


def test_the_network_is_left_as_it_was(algorithm, untrained):
    before = {k: v.clone() for k, v in untrained.state_dict().items()}
    algorithm.fit(untrained).surrogate()
    assert untrained.list_hooks() == {}
    for name, tensor in untrained.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.requires_grad and p.grad is None for p in untrained.parameters())


def test_a_surrogate_does_not_share_the_networks_weights(algorithm, untrained):
    surrogate = algorithm.fit(untrained).surrogate()
    before = untrained.W_U.clone()
    with torch.no_grad():
        surrogate.W_U.zero_()
    assert torch.equal(untrained.W_U, before)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 2.0])
def test_a_relative_error_lies_between_nought_and_one(circuit, delta):
    with pytest.raises(CosetCircuitsError, match=f"relative error is {delta}"):
        circuit.description_length(delta)


def test_more_precision_costs_more_bits(circuit):
    lengths = [circuit.description_length(delta).bits_per_neuron for delta in (0.3, 0.1, 0.03)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2]


@pytest.mark.parametrize("name", ["coset", "irrep-projected", "irrep-bilinear"])
def test_a_group_of_another_order_is_refused(name, untrained):
    with pytest.raises(
        CosetCircuitsError,
        match=r"S3 has 6 elements but the network's group S4 has 24",
    ):
        ALGORITHMS[name].fit(untrained, cc.group("S3"))


@pytest.mark.parametrize("delta", [0.3, 0.1, 0.03])
def test_description_length_by_hand(delta):
    """One noisy coset neuron of S4: its subgroup, its levels, and what they leave unsaid."""
    planted = planted_coset(cc.group("S4"), "S3")
    generator = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(24, 3, generator=generator, dtype=torch.float64)
    own = [t[:, 0].detach() for t in (planted.left_table, planted.right_table, planted.W_U.T)]
    own = [table + noise[:, i] for i, table in enumerate(own)]
    network = GroupMLP.from_weights(
        planted.group, left_table=own[0][:, None], right_table=own[1][:, None], W_U=own[2][None]
    )
    circuit = CosetAlgorithm().fit(network)
    assert circuit.roles.names == ("S3",)
    surrogate = circuit.surrogate()
    tables = (surrogate.left_table, surrogate.right_table, surrogate.W_U.T)
    fitted = [table[:, 0].detach() for table in tables]
    # S3 = Stab(4) has four right cosets, and S3·g·K two double cosets: on the point or off it.
    structure = math.log2(28) + math.log2(4)
    levels = (4 + 2) * math.log2(1 / delta)
    residual = 0.0
    for table, fit in zip(own, fitted, strict=True):
        fvu = float((table - fit).square().sum() / (table - table.mean()).square().sum())
        residual += 24 / 2 * math.log2(1 + fvu / delta**2)
    length = circuit.description_length(delta)
    assert length.structure == pytest.approx(structure, rel=1e-12)
    assert length.levels == pytest.approx(levels, rel=1e-12)
    assert length.residual == pytest.approx(residual, rel=1e-9)
    assert length.bits_per_neuron == pytest.approx(structure + levels + residual, rel=1e-9)


def test_an_irrep_neurons_length_by_hand(gcr_network):
    length = IrrepAlgorithm().fit(gcr_network).description_length(0.1)
    # One of four non-trivial irreps; nine functions and a mean for each of three tables.
    assert length.structure / 54 == pytest.approx(math.log2(4))
    assert length.levels / 54 == pytest.approx(30 * math.log2(10))
    assert length.residual == pytest.approx(0, abs=1e-9)


def test_negligible_neurons_are_not_counted(coset_network):
    unembed = coset_network.W_U.detach().clone()
    unembed[:44] = 0
    network = GroupMLP.from_weights(
        coset_network.group,
        left_table=coset_network.left_table,
        right_table=coset_network.right_table,
        W_U=unembed,
    )
    for algorithm in ALGORITHMS.values():
        circuit = algorithm.fit(network)
        assert circuit.roles.names[:44] == ("negligible",) * 44
        assert "negligible" not in circuit.roles.names[44:]
        assert circuit.description_length(0.1).neurons == 100


def test_coverage_leaves_negligible_neurons_out():
    names = ("C2", "unexplained", "negligible", "C2", "unexplained", "S3")
    roles = Roles.of(names, torch.zeros(6, 3, dtype=torch.float64))
    assert roles.coverage == 3 / 5
    assert [(row["role"], row["neurons"]) for row in roles.summary()] == [
        ("C2", 2),
        ("S3", 1),
        ("unexplained", 2),
        ("negligible", 1),
    ]
    assert Roles.of(("negligible",), torch.zeros(1, 3, dtype=torch.float64)).coverage == 0
