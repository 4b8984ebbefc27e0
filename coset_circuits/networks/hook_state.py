"""Save and restore the hooks on a model's hook points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

_KINDS = (("fwd_hooks", "_forward_hooks"), ("bwd_hooks", "_backward_hooks"))


@dataclass(frozen=True)
class HookState:
    """A snapshot of a model's hooks: TransformerLens's lists and torch's hook dictionaries."""

    level: int
    lists: list[tuple[HookPoint, str, list[Any]]]
    called: list[tuple[dict[int, Any], dict[int, Any]]]

    @classmethod
    def of(cls, model: HookedRootModule) -> HookState:
        lists, called = [], []
        for point in model.hook_points():
            for ours, torchs in _KINDS:
                lists.append((point, ours, list(getattr(point, ours))))
                own = getattr(point, torchs)
                called.append((own, dict(own)))
        return cls(model.context_level, lists, called)

    def restore(self, model: HookedRootModule) -> None:
        """Restore these hooks, but keep hooks added since with ``add_hook``."""
        for (point, name, handles), (own, before) in zip(self.lists, self.called, strict=True):
            known = {id(handle) for handle in handles}
            added = [
                handle
                for handle in getattr(point, name)
                if id(handle) not in known and handle.context_level is None
            ]
            kept = {h.hook.id: own[h.hook.id] for h in added if h.hook.id in own}
            setattr(point, name, handles + added)
            # Change it in place, because each handle removes itself from this dictionary.
            own.clear()
            own.update(before | kept)
        model.context_level = self.level
