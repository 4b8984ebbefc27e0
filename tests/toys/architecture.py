"""An architecture in one file: one hidden layer and a skip path from the inputs to the logits."""

from typing import ClassVar

import torch
from torch import nn
from transformer_lens.hook_points import HookPoint

from coset_circuits.groups import group as named_group
from coset_circuits.networks import Activation, GroupModel, Site
from coset_circuits.networks.model import STANDARD_SITES


class SkipMLP(GroupModel):
    """``relu(left[a] + right[b]) @ W_U + skip[a]``: the left input also writes to the logits."""

    sites: ClassVar = {
        **{name: site for name, site in STANDARD_SITES.items() if name != "hook_logits"},
        "hook_skip": Site("hook_skip", ("left",), per_neuron=False),
        "hook_logits": STANDARD_SITES["hook_logits"],
    }
    hook_skip: HookPoint

    def __init__(self, group, left, right, W_U, skip, *, label="skip network", silent=()):
        embeddings = ("hook_left_embed", "hook_right_embed")
        super().__init__(group, label, Activation.named("relu"), {*embeddings, *silent})
        self.left, self.right, self.W_U, self.skip = map(nn.Parameter, (left, right, W_U, skip))
        self.setup()

    @property
    def left_table(self):
        return self.left

    @property
    def right_table(self):
        return self.right

    def forward(self, pairs):
        self.check_pairs(pairs)
        a, b = pairs.to(self.device).T
        pre = self.hook_pre(self.hook_left_pre(self.left[a]) + self.hook_right_pre(self.right[b]))
        post = self.hook_post(self.activate(pre))
        return self.hook_logits(post @ self.W_U + self.hook_skip(self.skip[a]))

    def with_tables(self, left, right, W_U, *, label, silent=(), source=""):
        tables = [x.detach().to(self.device, self.dtype) for x in (left, right, W_U, self.skip)]
        return SkipMLP(self.group, *tables, label=label, silent=silent)

    def untrained(self, seed):
        generator = torch.Generator().manual_seed(seed)
        shapes = [p.shape for p in (self.left, self.right, self.W_U, self.skip)]
        return SkipMLP(self.group, *(torch.randn(s, generator=generator) for s in shapes))


class SkipReader:
    """Files that ``torch.save`` wrote of a dictionary: the group's name and four tables."""

    suffixes = (".skip",)
    folder_files = ("network.skip",)
    expects = "skip_network, left, right, W_U, skip (the toy)"

    def read(self, file, order):
        if file.path.suffix != ".skip":
            return None
        content = file.content
        tables = [content[name] for name in ("left", "right", "W_U", "skip")]
        group = named_group(content["skip_network"])
        return SkipMLP(group, *tables, label=file.path.stem)
