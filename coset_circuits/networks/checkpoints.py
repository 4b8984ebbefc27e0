"""Load and save networks: our own safetensors, and the files of both papers."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.element_orders import detect, group_names
from coset_circuits.networks.files import write_whole
from coset_circuits.networks.mlp import GroupMLP, check_weights
from coset_circuits.networks.model import GroupModel

SCHEMA = 1
FOLDER_FILES = ("network.safetensors", "model.pt", "full_run.pth")
"""The files that a folder may stand for, the first that it has."""
_SN_GROK = (
    "lembed.weight",
    "rembed.weight",
    "linear.weight",
    "unembed.weight",
    "linear.bias",
    "unembed.bias",
)
_DESCRIPTION = {"schema", "label", "group", "act_fn", "seed", "provenance"}
_OF_THE_FILE = ("sha256", "path")
"""What is known of a file that was read, and would be wrong in the next one."""
_PEER_GROUPS = {
    "SymmetricGroup": "S",
    "AlternatingGroup": "A",
    "CyclicGroup": "C",
    "DihedralGroup": "D",
}


def shipped() -> dict[str, Path]:
    """The networks that come with the package, by name."""
    folder = Path(str(resources.files("coset_circuits.networks") / "zoo"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    order: str | None = None,
) -> GroupMLP:
    """A network from a shipped name, a file of ours, or a checkpoint of either paper.

    A folder stands for the checkpoint inside it. Foreign files are read without running code
    (``weights_only``), and their element order is found by measuring the network's accuracy.

    Args:
        name_or_path: such as ``"s5"``, ``"runs/S5-seed7"``, ``"S5_MLP_seed2/model.pt"``.
        device: where to put it; the CPU unless given.
        dtype: float32 as stored, unless given.
        order: the element order of a foreign checkpoint, where it cannot be measured.

    Raises:
        CosetCircuitsError: no such network, or a file that is damaged, foreign or inconsistent.
    """
    path = _inside(find(name_or_path))
    if not path.is_file():
        raise CosetCircuitsError(
            f"{path} is a device or a pipe; give the file of a checkpoint, or a folder with one."
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CosetCircuitsError(
            f"{path} cannot be read ({error.strerror or error}); allow it or give another file."
        ) from error
    _check_card(path, digest)
    network = _load_ours(path) if _is_safetensors(path) else _load_foreign(path, order)
    network.provenance["sha256"] = digest
    if str(name_or_path) in shipped():
        network.label = str(name_or_path)
    else:
        network.provenance["path"] = str(name_or_path)
    return network.to(device=device, dtype=dtype)


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The file or folder of a shipped name or a path; an empty text is neither.

    Raises:
        CosetCircuitsError: there is none.
    """
    zoo = shipped()
    path = zoo.get(str(name_or_path)) or Path(name_or_path)
    if not str(name_or_path) or not path.exists():
        raise CosetCircuitsError(
            f"No network is called {str(name_or_path)!r} and no file or folder has that path; "
            f"shipped are {', '.join(zoo)}."
        )
    return path


def save(network: GroupMLP, path: str | os.PathLike[str], *, card: bool = True) -> Path:
    """Write a network with its configuration and provenance; the file appears whole or not at all.

    A ``card`` (``.json`` beside it, the provenance and the file's hash) is written for people.

    Raises:
        CosetCircuitsError: it cannot be written, or is a surrogate that a file cannot hold.
    """
    path = Path(path)
    if network.cancelled is not None:
        raise CosetCircuitsError(
            f"{network.label} is a surrogate that cancels its linear half, which a checkpoint "
            "cannot hold; save the network and fit it again."
        )
    tensors = _without_identities(
        {k: v.detach().cpu().contiguous() for k, v in network.named_parameters()}
    )
    try:
        is_named = named_group(network.group.name) == network.group
    except CosetCircuitsError:
        is_named = False
    if not is_named:
        tensors["group.table"] = network.group.table
    description = {
        "schema": SCHEMA,
        "label": network.label,
        "group": network.group.name,
        "act_fn": network.cfg.act_fn,
        "seed": network.seed,
        "provenance": {k: v for k, v in network.provenance.items() if k not in _OF_THE_FILE},
    }
    content = to_bytes(tensors, {"coset_circuits": json.dumps(description)})
    if _described_hash(path) is not None:
        # A card that outlives its file would accuse the next one of damage.
        path.with_suffix(".json").unlink(missing_ok=True)
    write_whole(path, content)
    if card:
        described = {**description, "sha256": hashlib.sha256(content).hexdigest()}
        write_whole(path.with_suffix(".json"), (json.dumps(described, indent=1) + "\n").encode())
    return path


def _without_identities(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A side whose embeddings are its pre-activations is held as one table."""
    for side in ("left", "right"):
        matrix = weights[f"W_in_{side}"]
        if torch.equal(matrix, torch.eye(*matrix.shape, dtype=matrix.dtype)):
            del weights[f"W_in_{side}"]
            weights[f"{side}_table"] = weights.pop(f"W_E_{side}")
    return weights


def _with_identities(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for side in ("left", "right"):
        table = weights.pop(f"{side}_table", None)
        if table is not None:
            weights[f"W_E_{side}"] = table
            weights[f"W_in_{side}"] = torch.eye(table.shape[-1:].numel(), dtype=table.dtype)
    return weights


def weights_sha256(network: GroupModel) -> str:
    """The file's hash where the network came from a file, else a hash of its weights."""
    if "sha256" in network.provenance:
        return network.provenance["sha256"]
    digest = hashlib.sha256()
    for name, parameter in sorted(network.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _inside(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise CosetCircuitsError(
        f"The folder {path} holds no network; expected is one of {', '.join(FOLDER_FILES)}."
    )


def _described_hash(path: Path) -> str | None:
    """The hash on the card beside one of our files; None where there is no such card."""
    if not _is_safetensors(path):
        return None
    try:
        card = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    described = isinstance(card, dict) and {"sha256", "provenance"} <= card.keys()
    return str(card["sha256"]) if described else None


def _check_card(path: Path, digest: str) -> None:
    described = _described_hash(path)
    if described not in (None, digest):
        raise CosetCircuitsError(
            f"{path} is not the file that its card {path.with_suffix('.json').name} describes: the "
            "hashes differ, so one of them is damaged or of another network; take the card away to "
            "read the file all the same."
        )


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _load_ours(path: Path) -> GroupMLP:
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {}).get("coset_circuits", "null"))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            weights = _with_identities(weights)
    except Exception as error:
        # An untrusted file can fail in any way inside the reader.
        raise CosetCircuitsError(
            f"{path} cannot be read as safetensors ({_reason(error)}); it is damaged or of another "
            "format."
        ) from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise CosetCircuitsError(
            f"{path} is a safetensors file but no network of schema {SCHEMA} saved by "
            "coset_circuits; wrap its weights with GroupMLP.from_weights."
        )
    if not description.keys() >= _DESCRIPTION:
        raise CosetCircuitsError(
            f"{path} lacks {', '.join(sorted(_DESCRIPTION - description.keys()))} in its "
            "description; it is damaged."
        )
    if not isinstance(description["provenance"], dict):
        raise CosetCircuitsError(
            f"{path} has a provenance that is no list of names and values; it is damaged."
        )
    table = weights.pop("group.table", None)
    name = _line(description["group"])
    group = named_group(name) if table is None else FiniteGroup.from_table(table, name)
    return _network(
        group,
        weights,
        path,
        act_fn=str(description["act_fn"]),
        label=_line(description["label"]),
        seed=description["seed"],
        provenance={**description["provenance"], "file": path.name},
    )


def _network(
    group: FiniteGroup, weights: Mapping[str, Tensor], path: Path, **about: Any
) -> GroupMLP:
    try:
        check_weights(group, weights)
        return GroupMLP.from_weights(group, **weights, **about)  # type: ignore[arg-type]
    except CosetCircuitsError as error:
        raise CosetCircuitsError(f"{path} cannot be used: {error}") from error


def _line(text: object) -> str:
    """Text from a file as one short line, without what could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:200]


def _reason(error: Exception) -> str:
    reason = _line((str(error).splitlines() or [""])[0])[:160]
    return reason if " " in reason else type(error).__name__


def _load_foreign(path: Path, order: str | None) -> GroupMLP:
    try:
        _check_parts(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # An untrusted file can fail in any way inside torch's reader.
        raise CosetCircuitsError(
            f"{path} cannot be read as a checkpoint ({_reason(error)}); it is truncated, damaged, "
            "or holds more than weights, which are the only thing that is read."
        ) from error
    if isinstance(content, dict) and {"W_x", "W_y", "W", "W_U"} <= content.keys():
        return _from_gcr(path, content, order)
    model = content.get("model") if isinstance(content, dict) else None
    if isinstance(model, dict) and "lembed.weight" in model:
        return _from_sn_grok(path, model, order)
    keys = ", ".join(map(_line, list(content)[:6])) if isinstance(content, dict) else "no names"
    raise CosetCircuitsError(
        f"{path} is no one-hidden-layer network of either paper: it holds {keys}; expected are "
        "W_x, W_y, W, W_U (Chughtai et al.) or model/lembed.weight, … (Stander et al.)."
    )


def _check_parts(path: Path) -> None:
    """Refuse an archive that would unpack to more than the file: torch stores, it never packs.

    Raises:
        ValueError: it would, or the file is no archive, which torch has written since 1.6.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive, as torch writes since version 1.6")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its parts are compressed, which torch never does")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts say that they are larger than the file")


def _from_gcr(path: Path, content: Mapping[str, Any], order: str | None) -> GroupMLP:
    """Chughtai et al.: embeddings W_x, W_y, concatenated before one matrix W; no biases."""
    _check_tensors(path, content, ("W_x", "W_y", "W", "W_U"))
    weights = {
        "W_E_left": content["W_x"],
        "W_E_right": content["W_y"],
        "W_U": content["W_U"],
        **_halves(content["W_x"], content["W"]),
    }
    cfg = _gcr_cfg(path.with_name("cfg.json"))
    names = None
    kind, parameter = str(cfg.get("group")), cfg.get("group_parameter")
    if kind in _PEER_GROUPS and isinstance(parameter, int):
        names = [f"{_PEER_GROUPS[kind]}{parameter}"]
    folder = path.absolute().parent.name
    source = "Chughtai et al. 2023, " + (
        f"{folder}/{path.name}" if path.name == "model.pt" else path.name
    )
    label = folder if path.name == "model.pt" else path.stem
    network = _reordered(path, weights, names, order, label or "network", source, cfg.get("seed"))
    if recipe := _gcr_recipe(cfg):
        network.provenance["recipe"] = recipe
    if network.seed is not None and "frac_train" in cfg:
        network.provenance["shuffle"] = {
            "order": network.provenance["element_order"].partition(", ")[2],
            "fraction": cfg["frac_train"],
            "seed": network.seed,
        }
    return network


def _gcr_recipe(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """How the network was trained, under the names of our own recipes."""
    names = {
        "lr": "learning_rate",
        "weight_decay": "weight_decay",
        "betas": "betas",
        "frac_train": "fraction",
        "num_epochs": "max_steps",
    }
    return {ours: cfg[theirs] for theirs, ours in names.items() if theirs in cfg}


def _gcr_cfg(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        cfg = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CosetCircuitsError(
            f"{path}, beside the checkpoint, is no JSON ({_reason(error)}); mend it or take it "
            "away."
        ) from error
    return cfg if isinstance(cfg, dict) else {}


def _from_sn_grok(path: Path, model: Mapping[str, Any], order: str | None) -> GroupMLP:
    """Stander et al.: torch Linear layers (transposed weights), a bias after the unembedding."""
    missing = set(_SN_GROK[:4]) - set(model)
    if missing:
        raise CosetCircuitsError(
            f"{path} looks like a run of Stander et al. but lacks {', '.join(sorted(missing))}; "
            "only one hidden layer over two embeddings can be read."
        )
    _check_tensors(path, model, _SN_GROK)
    weights = {
        "W_E_left": model["lembed.weight"],
        "W_E_right": model["rembed.weight"],
        "W_U": model["unembed.weight"].T,
        **_halves(model["lembed.weight"], model["linear.weight"].T),
    }
    if "linear.bias" in model:
        weights["b_in"] = model["linear.bias"]
    if "unembed.bias" in model:
        weights["b_U"] = model["unembed.bias"]
    folder = path.absolute().parent.name
    source = f"Stander et al. 2024, {folder}/{path.name}"
    label = folder or path.stem
    return _reordered(path, weights, None, order, label, source, None)


def _check_tensors(path: Path, content: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        value, dimensions = content.get(name), 1 if name.endswith("bias") else 2
        if name in content and not (isinstance(value, Tensor) and value.ndim == dimensions):
            kind = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else "no tensor"
            raise CosetCircuitsError(
                f"{path} holds something else than matrices where weights belong: {name} is {kind}."
            )
        if isinstance(value, Tensor) and not _is_plain(value):
            raise CosetCircuitsError(
                f"{path} holds {name} of shape {tuple(value.shape)} without all of its numbers; "
                "only whole matrices of weights are read."
            )


def _is_plain(value: Tensor) -> bool:
    """Whether every entry has memory of its own: a view may claim gigabytes and hold one number."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _halves(left: Tensor, matrix: Tensor) -> dict[str, Tensor]:
    width = left.shape[1]
    return {"W_in_left": matrix[:width], "W_in_right": matrix[width:]}


def _reordered(
    path: Path,
    weights: dict[str, Tensor],
    names: list[str] | None,
    order: str | None,
    label: str,
    source: str,
    seed: int | None,
) -> GroupMLP:
    """The network in our element order, after finding out theirs."""
    size = weights["W_E_left"].shape[0]
    if not 1 <= size <= 5040:
        raise CosetCircuitsError(
            f"{path} has {size} elements; groups of order 1 to 5040 can be read."
        )
    names = names or group_names(size)
    # Checked under a group of the right size first: any order of the elements has that shape.
    theirs = _network(named_group(names[0]), weights, path)
    found = detect(_answers(theirs), names, order)
    ours = torch.from_numpy(np.argsort(found.elements))
    moved = dict(weights)
    for name in ("W_E_left", "W_E_right", "b_U"):
        if name in weights:
            moved[name] = weights[name][ours]
    moved["W_U"] = weights["W_U"][:, ours]
    provenance = {"source": source, "element_order": f"{found.group.name}, {found.name}"}
    return _network(found.group, moved, path, label=label, seed=seed, provenance=provenance)


@torch.no_grad()
def _answers(network: GroupMLP) -> np.ndarray:
    left, right = network.left_table, network.right_table
    b_U = 0 if network.b_U is None else network.b_U
    rows = [(network.activate(row + right) @ network.W_U + b_U).argmax(1) for row in left]
    return torch.stack(rows).numpy()
