"""How many threads torch computes with. Import this module only where a model is: it brings torch."""

from __future__ import annotations

import torch

_DEFAULT = torch.get_num_threads()


def use_threads(n_threads: int | None) -> None:
    """For the next computation of the calling thread, which models share; None stands for torch's default."""
    wanted = n_threads or _DEFAULT
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
