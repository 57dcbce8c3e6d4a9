"""What travels down. Parameters have no arithmetic: a sum of parameters means nothing."""

from __future__ import annotations

__all__ = ["Parameters"]


class Parameters:
    """The free quantities of a model, all k components at once, in the coordinates of the frame.

    Subclasses are records; nobody mutates them: the M-step returns new ones.
    """
