"""Networks in other people's files: safetensors, .npz, Wu et al.'s runs; and files that are none.

The oracle is a forward pass in plain PyTorch, or the network that was written to the file.
"""

import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.comparison.sources import Source
from coset_circuits.networks import planted_coset

S4 = cc.group("S4")
PAIRS = S4.pairs()


@pytest.fixture(scope="module")
def network():
    return planted_coset(S4, "C2")


def tables(network):
    return {
        "left_table": network.left_table.detach().contiguous(),
        "right_table": network.right_table.detach().contiguous(),
        "W_U": network.W_U.detach().contiguous(),
    }


def chughtai(network):
    return {
        "W_x": network.W_E_left.detach(),
        "W_y": network.W_E_right.detach(),
        "W": torch.cat([network.W_in_left, network.W_in_right]).detach(),
        "W_U": network.W_U.detach(),
    }


def stander(network):
    theirs = chughtai(network)
    return {
        "lembed.weight": theirs["W_x"],
        "rembed.weight": theirs["W_y"],
        "linear.weight": theirs["W"].T.contiguous(),
        "unembed.weight": theirs["W_U"].T.contiguous(),
        "unembed.bias": torch.zeros(24, dtype=torch.float64),
    }


def written(path, weights, facts=None):
    if path.suffix == ".safetensors":
        save_file(weights, path, facts)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{k: v.numpy() for k, v in weights.items()}, **(facts or {}))
    else:
        torch.save(weights | (facts or {}), path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
@pytest.mark.parametrize("names", [tables, chughtai, stander])
def test_known_names_are_read_from_every_kind_of_file(tmp_path, network, names, suffix):
    loaded = cc.load(written(tmp_path / f"mine{suffix}", names(network)))
    torch.testing.assert_close(loaded(PAIRS), network(PAIRS), rtol=1e-12, atol=1e-12)
    assert loaded.group == S4 and loaded.dtype == torch.float64


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
@pytest.mark.parametrize("names", [tables, chughtai, stander])
@pytest.mark.parametrize("key", ["act_fn", "activation"])
def test_an_activation_that_a_file_names_is_used(tmp_path, network, names, suffix, key):
    path = written(tmp_path / f"mine{suffix}", names(network), {key: "GELU"})
    loaded = cc.load(path)
    _, cache = network.run_with_cache(PAIRS)
    expected = F.gelu(cache["hook_pre"]) @ network.W_U
    torch.testing.assert_close(loaded(PAIRS), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(CosetCircuitsError, match="'mish' is not known"):
        cc.load(written(path, names(network), {key: "mish"}))


def test_an_assumed_activation_is_said(tmp_path, network):
    given = cc.load(written(tmp_path / "given.npz", tables(network), {"act_fn": "relu"}))
    assumed = cc.load(written(tmp_path / "mine.npz", tables(network)))
    assert given.provenance["source"] == "weights in given.npz"
    assert assumed.provenance["source"].endswith("names no activation: ReLU is assumed")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_shared_and_summed_embeddings_and_biases(tmp_path, suffix):
    """An untrained network; the file names its group, and the user its order of elements."""
    torch.manual_seed(0)
    embed, linear, head = nn.Embedding(24, 9), nn.Linear(9, 11), nn.Linear(11, 24)
    weights = {
        "W_E": embed.weight.detach(),
        "W_in": linear.weight.detach().T.contiguous(),
        "b_in": linear.bias.detach(),
        "W_U": head.weight.detach().T.contiguous(),
        "b_U": head.bias.detach(),
    }
    path = written(tmp_path / f"mine{suffix}", weights, {"group": "S4", "act_fn": "silu"})
    loaded = cc.load(path, order="lexicographic")
    expected = head(F.silu(linear(embed(PAIRS[:, 0]) + embed(PAIRS[:, 1]))))
    listing = sorted(map(tuple, S4.permutations.tolist()))
    ours = torch.tensor([listing.index(tuple(p)) for p in S4.permutations.tolist()])
    theirs = ours[PAIRS[:, 0]] * 24 + ours[PAIRS[:, 1]]
    torch.testing.assert_close(loaded(PAIRS), expected[theirs][:, ours], rtol=1e-5, atol=1e-5)
    with pytest.raises(CosetCircuitsError, match="No group is called 'M11'"):
        cc.load(written(path, weights, {"group": "M11"}))


@pytest.mark.parametrize("start", [b"\x80", b"PK", b"\x1f\x8b"])
def test_a_header_whose_length_looks_like_another_format(tmp_path, network, start):
    """The first bytes of safetensors are a number, and any number may come there."""
    path = tmp_path / "mine.safetensors"
    save_file(tables(network), path)
    content = path.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    length = int.from_bytes(start, "little")
    length += 2 ** (8 * len(start)) * (length < len(header))
    padded = length.to_bytes(8, "little") + header.ljust(length) + content[8 + len(header) :]
    assert padded.startswith(start)
    path.write_bytes(padded)
    assert torch.equal(cc.load(path).W_U, network.W_U)


def nested(weights):
    """As Lightning, trainers and torch.compile write them."""
    yield {"state_dict": {f"net.{k}": v for k, v in weights.items()}, "epoch": 3, "loops": {}}
    yield {"params": weights, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "lr": 1e-3}}
    yield {"model": {f"_orig_mod.module.{k}": v for k, v in weights.items()}}
    yield {"model": weights, "model_state_dict": dict(weights)}


DEEP = {"hyper_parameters": {"cfg": {"model": {"layers": [{"mlp": {"activation": "GELU"}}]}}}}


@pytest.mark.parametrize("facts", [{}, {"hyper_parameters": {"mlp": {"activation": "GELU"}}}, DEEP])
def test_weights_inside_other_things(tmp_path, network, facts):
    for content in nested(tables(network)):
        loaded = cc.load(written(tmp_path / "mine.ckpt", content, facts))
        assert torch.equal(loaded.W_U, network.W_U)
        assert loaded.activation.name == ("gelu" if facts else "relu")


def test_a_file_that_says_two_things_is_refused(tmp_path, network):
    weights = tables(network)
    for content, sentence in (
        ({"a": weights, "b": {k: 2 * v for k, v in weights.items()}}, "two sets of weights"),
        (
            {"state_dict": weights, "ema": {f"module.{k}": 2 * v for k, v in weights.items()}},
            "two sets of weights that differ, state_dict and ema",
        ),
        (weights | {"group": "D12"}, "names the group D12, and its answers are those of S4"),
        ({"model": weights, "cfg": {"act_fn": "gelu"}, "args": {"act": "silu"}}, "its act_fn"),
    ):
        with pytest.raises(CosetCircuitsError, match=sentence):
            cc.load(written(tmp_path / "mine.pt", content))


def test_a_token_after_the_elements_is_left_out(tmp_path, network):
    """A token "=" that the trained network never answers."""
    weights = tables(network)
    weights["left_table"] = F.pad(weights["left_table"], (0, 0, 0, 1), value=0.3)
    weights["right_table"] = F.pad(weights["right_table"], (0, 0, 0, 1), value=-0.3)
    weights["W_U"] = F.pad(weights["W_U"], (0, 1), value=-1.0)
    loaded = cc.load(written(tmp_path / "mine.pt", weights))
    assert loaded.group == S4 and loaded.provenance["vocabulary"] == 25
    assert torch.equal(loaded(PAIRS), network(PAIRS))


def test_a_wrong_group_or_order_is_not_believed(tmp_path, network):
    path = written(tmp_path / "mine.pt", tables(network))
    with pytest.raises(CosetCircuitsError, match=r"multiplies in S4.*100\.0%.*C24, native, which"):
        cc.load(path, order="C24, native")
    with pytest.raises(CosetCircuitsError, match="leave the order out"):
        cc.load(path, order="S4, heap")
    with pytest.raises(CosetCircuitsError, match="multiplies in S4"):
        cc.GroupMLP.from_weights("C24", **tables(network))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    other = {k: v[:, order] if k == "W_U" else v[order] for k, v in tables(network).items()}
    with pytest.warns(UserWarning, match="right in another numbering"):
        cc.GroupMLP.from_weights("S4", **other)


def test_weights_that_no_format_has_are_refused_by_name(tmp_path, network):
    extra = tables(network) | {"b_post": torch.zeros(144)}
    for suffix in (".safetensors", ".npz", ".pt"):
        with pytest.raises(CosetCircuitsError, match="also holds b_post"):
            cc.load(written(tmp_path / f"mine{suffix}", extra))


# Wu et al.


class Wu(nn.Module):
    """The three architectures of their code, for one instance: axes (instance, in, out)."""

    def __init__(self, kind, instances=1):
        super().__init__()
        generator = torch.Generator().manual_seed(len(kind))

        def normal(*shape):
            return nn.Parameter(torch.randn(instances, *shape, generator=generator))

        width = 8 if kind == "MLP4" else 5
        self.embedding_left, self.embedding_right = normal(6, width), normal(6, width)
        if kind == "MLP2":
            self.linear_left, self.linear_right = normal(5, 8), normal(5, 8)
            self.unembed_bias = normal(6)
        elif kind == "MLP3":
            self.linear = normal(5, 8)
        self.unembedding = normal(8, 6)
        self.kind = kind

    def forward(self, pairs, activation):
        left, right = self.embedding_left[0, pairs[:, 0]], self.embedding_right[0, pairs[:, 1]]
        if self.kind == "MLP2":
            hidden = left @ self.linear_left[0] + right @ self.linear_right[0]
            return activation(hidden) @ self.unembedding[0] + self.unembed_bias[0]
        hidden = left + right
        return (
            activation(hidden @ self.linear[0] if self.kind == "MLP3" else hidden)
            @ (self.unembedding[0])
        )


def wu_run(tmp_path, state, **params):
    (tmp_path / "run" / "ckpts").mkdir(parents=True)
    torch.save(state, tmp_path / "run" / "ckpts" / "final.pt")
    (tmp_path / "run" / "params.json").write_text(json.dumps(params))
    return tmp_path / "run"


def in_s3(values, order="lexicographic"):
    """Logits of S3 in our order, from those in the order of the file."""
    s3 = cc.group("S3")
    listing = sorted(map(tuple, s3.permutations.tolist()))
    ours = torch.tensor([listing.index(tuple(p)) for p in s3.permutations.tolist()])
    pairs = s3.pairs()
    return values[ours[pairs[:, 0]] * 6 + ours[pairs[:, 1]]][:, ours]


@pytest.mark.parametrize("kind", ["MLP2", "MLP3", "MLP4"])
@pytest.mark.parametrize(
    ("activation", "function"),
    [("gelu", F.gelu), ("relu", F.relu), ("square", torch.square), ("linear", lambda x: x)],
)
def test_a_run_of_wu_et_al(tmp_path, kind, activation, function):
    model = Wu(kind)
    folder = wu_run(tmp_path, model.state_dict(), activation=activation, seed=4, group_string="S3")
    loaded = cc.load(folder, order="lexicographic")
    pairs = cc.group("S3").pairs()
    torch.testing.assert_close(loaded(pairs), in_s3(model(pairs, function)), rtol=1e-5, atol=1e-5)
    assert (loaded.label, loaded.seed) == ("run", 4)


def test_their_first_architecture_has_layers(tmp_path):
    torch.manual_seed(0)
    parts = {
        "embedding_left": nn.Embedding(6, 4),
        "embedding_right": nn.Embedding(6, 4),
        "linear": nn.Linear(8, 7),
        "unembedding": nn.Linear(7, 6),
    }
    state = nn.ModuleDict(parts).state_dict()
    loaded = cc.load(wu_run(tmp_path, state, activation="gelu"), order="lexicographic")
    pairs = cc.group("S3").pairs()
    embedded = [parts[f"embedding_{side}"](pairs[:, i]) for i, side in enumerate(("left", "right"))]
    logits = parts["unembedding"](F.gelu(parts["linear"](torch.cat(embedded, 1))))
    torch.testing.assert_close(loaded(pairs), in_s3(logits), rtol=1e-5, atol=1e-5)


def test_a_right_run_of_wu_et_al_tells_its_group(tmp_path, network):
    state = {
        "embedding_left": network.left_table[None],
        "embedding_right": network.right_table[None],
        "unembedding": network.W_U[None],
    }
    loaded = cc.load(wu_run(tmp_path, {k: v.detach() for k, v in state.items()}))
    torch.testing.assert_close(loaded(PAIRS), network(PAIRS), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: Wu("MLP3", instances=3).state_dict(), "holds 3 networks side by side"),
        (lambda s: s | {"bias": torch.zeros(1, 8)}, "also holds bias"),
        (lambda s: {k: v for k, v in s.items() if k != "unembedding"}, "has no W_U"),
        (lambda s: s | {"linear": torch.zeros(1, 4, 8)}, "W_in has shape"),
        (lambda s: s | {"linear": torch.zeros(5, 8)}, "must hold matrices"),
    ],
)
def test_runs_of_wu_et_al_that_are_refused(tmp_path, change, sentence):
    folder = wu_run(tmp_path, change(Wu("MLP3").state_dict()))
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(folder)


def test_an_edited_activation_is_another_network(tmp_path):
    """What a comparison of many networks has kept of one is not taken for the other."""
    folder = wu_run(tmp_path, Wu("MLP3").state_dict(), activation="relu")
    file = folder / "ckpts" / "final.pt"
    before = Source(file, "run").content()
    (folder / "params.json").write_text(json.dumps({"activation": "gelu"}))
    assert Source(file, "run").content() != before


def test_params_that_are_not_json(tmp_path):
    folder = wu_run(tmp_path, Wu("MLP3").state_dict())
    (folder / "params.json").write_text("{")
    with pytest.raises(CosetCircuitsError, match=r"params.json, which says the activation"):
        cc.load(folder)


# Files of another kind are called what they are.


class Net(nn.Linear):
    pass


def zipped(path, **parts):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def array_bytes():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


KINDS = {
    "a whole module": (
        lambda path: torch.save(Net(2, 3), path),
        "besides weights it holds .*Net, and loading Python objects can run code",
    ),
    "a TorchScript module": (
        lambda path: torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)), path),
        "it is a TorchScript module",
    ),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"W": 1})), "it is a pickle"),
    "text": (lambda path: path.write_text("Dear reader, …\n"), "it is a text file"),
    "nothing": (lambda path: path.write_bytes(b""), "it is empty"),
    "an archive": (lambda path: zipped(path, notes="hi"), "a zip archive that holds notes"),
    "an array": (lambda path: path.write_bytes(array_bytes()), "a single NumPy array"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 99)), "compressed with gzip"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_file_of_another_kind_is_not_called_damaged(tmp_path, kind, suffix):
    write, sentence = KINDS[kind]
    path = tmp_path / f"model{suffix}"
    write(path)
    with pytest.raises(
        CosetCircuitsError, match=f"cannot be read as a checkpoint.*{sentence}"
    ) as e:
        cc.load(path)
    text = str(e.value)
    assert text.isprintable() and "damaged" not in text and "[1m" not in text
    assert "weights" in text


def test_an_npz_bomb_and_an_npz_of_objects_are_refused(tmp_path):
    bomb = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("W_U.npy", "w", force_zip64=True) as inside,
    ):
        for _ in range(2**10 + 1):
            inside.write(b"\0" * 2**20)
    with pytest.raises(CosetCircuitsError, match=r"would unpack to 1\.0 GiB"):
        cc.load(bomb)
    np.savez(tmp_path / "objects.npz", W_U=np.array([object()]))
    with pytest.raises(CosetCircuitsError, match=r"cannot be read as \.npz"):
        cc.load(tmp_path / "objects.npz")
    np.savez(tmp_path / "texts.npz", W_U=np.array(["a", "b"]), W_E=np.zeros((2, 2)))
    with pytest.raises(CosetCircuitsError, match=r"must hold matrices"):
        cc.load(tmp_path / "texts.npz")
