"""Checkpoints are untrusted: each gives one sentence, or a network; none runs code or fills memory.

Flips and cuts are at places drawn from a fixed seed.
"""

import io
import json
import os
import pickle
import resource
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, GroupMLP, compare
from coset_circuits.networks import planted_coset, save

PLACES = 200


def network():
    return planted_coset(cc.group("S3"), "C2")


def peer_content(**changes):
    """A network of S3 as Chughtai et al. save it; embeddings and matrix are the tables'."""
    own = GroupMLP.initialised(cc.group("S3"), d_mlp=8, d_embed=4, seed=1)
    matrix = torch.cat([own.W_in_left, own.W_in_right]).detach()
    content = {
        "W_x": own.W_E_left.detach(),
        "W_y": own.W_E_right.detach(),
        "W": matrix,
        "W_U": own.W_U.detach(),
    }
    return {**content, **changes}


def peer_bytes(**changes):
    file = io.BytesIO()
    torch.save(peer_content(**changes), file)
    return file.getvalue()


def read(path):
    return cc.load(path, order="lexicographic" if path.suffix == ".pt" else None)


def refused(path, words=""):
    """The one sentence with which a file is refused."""
    with pytest.raises(CosetCircuitsError) as caught:
        read(path)
    text = str(caught.value)
    assert path.name in text and "\n" not in text and words in text, text
    assert len(text) < 600
    return text


@pytest.fixture
def limited_memory():
    """No file may make the process take two gigabytes more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# Damage.


@pytest.mark.parametrize("kind", ["cut", "flipped"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_damage_at_200_places_is_a_sentence_or_a_network(tmp_path, suffix, kind, unchecked):
    path = tmp_path / f"network{suffix}"
    whole = peer_bytes() if suffix == ".pt" else save(network(), path, card=False).read_bytes()
    rng = np.random.default_rng(0)
    read_all_the_same = 0
    for place in rng.choice(len(whole), PLACES, replace=False).tolist():
        damaged = bytearray(whole)
        if kind == "cut":
            del damaged[place:]
        else:
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = read(path)
        except CosetCircuitsError as error:
            assert path.name in str(error) and "\n" not in str(error)
            continue
        read_all_the_same += 1
        # What loads is a whole network of finite numbers.
        assert all(bool(t.isfinite().all()) for t in loaded.parameters())
        assert loaded(loaded.group.pairs()).shape == (36, 6)
    # No cut file is a network; a flip in the weights leaves one.
    assert (read_all_the_same == 0) == (kind == "cut")


def test_a_card_tells_of_every_flip(tmp_path, unchecked):
    path = save(network(), tmp_path / "network.safetensors")
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.choice(len(whole), 50, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        refused(path, "hashes differ")
    path.write_bytes(whole)
    assert read(path).group.name == "S3"


def test_a_file_saved_again_without_a_card_is_not_accused(tmp_path):
    path = save(network(), tmp_path / "network.safetensors")
    save(planted_coset(cc.group("S3"), "C2", seed=1), path, card=False)
    assert read(path).seed == 1 and not path.with_suffix(".json").exists()


def test_a_json_that_is_no_card_is_none_of_our_business(tmp_path):
    path = save(network(), tmp_path / "network.safetensors", card=False)
    for text in ('{"sha256": "x"}', "[]", "no json", "[" * 100_000):
        path.with_suffix(".json").write_text(text)
        assert read(path).group.name == "S3"


# Code, and what fills memory.


class Runs:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize("where", ["plain", "archive", "key", "inner archive"])
def test_no_pickle_runs_code(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    if where == "plain":
        path.write_bytes(pickle.dumps({"W_x": Runs()}))
    elif where == "archive":
        torch.save({"W_x": Runs()}, path)
    elif where == "key":
        torch.save({**peer_content(), "note": [Runs()]}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps(Runs()))
            archive.writestr("model/version", "3\n")
    refused(path, "cannot be read as a checkpoint")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt"]


def test_a_zip_bomb_is_not_unpacked(tmp_path, limited_memory):
    path = tmp_path / "model.pt"
    part = b"\0" * 2**20
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model/data/0", "w", force_zip64=True) as inside,
    ):
        for _ in range(3 * 2**10):
            inside.write(part)
    assert path.stat().st_size < 2**25
    refused(path, "compressed")


def test_parts_that_overlap_are_not_read(tmp_path):
    """Fifield's better bomb: many entries of the directory share the same bytes."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/0", b"\0" * 100_000)
        first = archive.filelist[0]
        archive.filelist.extend([first] * 50)
    refused(path, "larger than the file")


def test_ten_gigabytes_that_are_only_declared(tmp_path, limited_memory):
    one = torch.zeros(1)
    wide = one.expand(50_000, 50_000)
    for name in ("W_x", "W", "W_U"):
        path = tmp_path / "model.pt"
        torch.save(peer_content(**{name: wide}), path)
        refused(path, "without all of its numbers")
    header = json.dumps(
        {"W_U": {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, 10_000_000_000]}}
    ).encode()
    path = tmp_path / "network.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 1000)
    refused(path, "cannot be read as safetensors")
    path.write_bytes(struct.pack("<Q", 10**13) + header)
    refused(path, "cannot be read as safetensors")


def test_tensors_of_no_plain_kind(tmp_path):
    for strange in (
        torch.zeros(6, 4).to_sparse(),
        torch.zeros(6, 4, device="meta"),
    ):
        path = tmp_path / "model.pt"
        torch.save(peer_content(W_x=strange), path)
        refused(path)


# Wrong content of the right form.


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.to(torch.int64),
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.float8_e4m3fn),
        lambda t: t > 0,
        lambda t: torch.full_like(t, torch.nan),
        lambda t: torch.full_like(t, -torch.inf),
        lambda t: t[:0],
        lambda t: t[:, :0],
        lambda t: t[None],
        lambda t: t.flatten(),
        lambda t: t[:-1],
    ],
    ids=[
        "int",
        "complex",
        "float8",
        "bool",
        "nan",
        "inf",
        "0 rows",
        "0 columns",
        "3d",
        "1d",
        "cut",
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_that_are_none(tmp_path, suffix, change, unchecked):
    own = GroupMLP.initialised(cc.group("S3"), d_mlp=8, d_embed=4, seed=1)
    whole = {k: v.detach() for k, v in own.named_parameters()}
    content = peer_content() if suffix == ".pt" else whole
    for name, tensor in content.items():
        changed = {k: v.clone() for k, v in content.items()} | {name: change(tensor).contiguous()}
        path = tmp_path / f"network{suffix}"
        if suffix == ".pt":
            torch.save(changed, path)
        else:
            path.write_bytes(to_bytes(changed, {"coset_circuits": json.dumps(DESCRIPTION)}))
        refused(path)


DESCRIPTION = {
    "schema": 1,
    "label": "x",
    "group": "S3",
    "act_fn": "relu",
    "seed": 0,
    "provenance": {},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"group": "S99"},
        {"group": ["S3"]},
        {"group": None},
        {"act_fn": "sine"},
        {"act_fn": {}},
        {"provenance": "here"},
        {"provenance": [1]},
    ],
    ids=str,
)
def test_descriptions_that_are_none(tmp_path, changes, unchecked):
    whole = {k: v.detach() for k, v in network().float().named_parameters()}
    path = tmp_path / "network.safetensors"
    path.write_bytes(to_bytes(whole, {"coset_circuits": json.dumps({**DESCRIPTION, **changes})}))
    with pytest.raises(CosetCircuitsError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_label_cannot_steer_a_terminal_or_fill_a_path(tmp_path):
    whole = {k: v.detach() for k, v in network().float().named_parameters()}
    path = tmp_path / "network.safetensors"
    description = {**DESCRIPTION, "label": "\x1b[2J\n" + "x" * 100_000}
    path.write_bytes(to_bytes(whole, {"coset_circuits": json.dumps(description)}))
    label = read(path).label
    assert label.isprintable() and len(label) == 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "\xff\xfe",
        "{",
        "[1]",
        "{}",
        '{"group": []}',
        '{"group": "SymmetricGroup"}',
        '{"group": "SymmetricGroup", "group_parameter": "99999999"}',
    ],
)
def test_a_configuration_beside_the_checkpoint(tmp_path, text):
    (tmp_path / "model.pt").write_bytes(peer_bytes())
    (tmp_path / "cfg.json").write_text(text, encoding="latin-1")
    try:
        loaded = cc.load(tmp_path, order="lexicographic")
    except CosetCircuitsError as error:
        assert "cfg.json" in str(error) and "\n" not in str(error)
    else:
        assert loaded.group.order == 6


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "network.safetensors")
    for path in (tmp_path / "network.safetensors", "/dev/zero"):
        with pytest.raises(CosetCircuitsError, match="device or a pipe"):
            cc.load(path)


# A folder.


@pytest.mark.slow
def test_of_16_networks_ten_are_bad_and_six_are_analysed(tmp_path, unchecked):
    for seed in range(16):
        own = planted_coset(cc.group("S3"), "C2", seed=seed, scale=1 + seed / 100)
        own.label = f"n{seed:03d}"
        save(own, tmp_path / f"n{seed:03d}.safetensors", card=False)
    whole = (tmp_path / "n000.safetensors").read_bytes()
    bad = {
        "n003.safetensors": b"",
        "n004.safetensors": whole[:50],
        "n005.safetensors": whole[:-7],
        "n006.safetensors": b"\xff" * 8 + whole[8:],
        "n007.safetensors": whole.replace(b'"group\\": \\"S3', b'"group\\": \\"XX'),
        "n008.safetensors": to_bytes({"other": torch.zeros(2)}),
        "n009.safetensors": pickle.dumps(Runs()),
        "n010.safetensors": whole.replace(b"W_U", b"W_V"),
        "n011.safetensors": whole[:-8] + struct.pack("<d", float("nan")),
        "n012.safetensors": os.urandom(3000),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    ensemble = compare(tmp_path, [CosetAlgorithm()], pairs=4)
    assert len(ensemble) == 6
    assert sorted(os.path.basename(file) for file in ensemble.skipped) == sorted(bad)
    assert all("\n" not in reason and len(reason) < 900 for reason in ensemble.skipped.values())
