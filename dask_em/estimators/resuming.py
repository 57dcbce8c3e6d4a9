"""Whether a checkpoint belongs to a fit: the same model, plan and rows; if not, a sentence says what changed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_em.driver import Checkpoint, Checkpoints, Stopping
from dask_em.errors import InputError
from dask_em.estimators.fitted import portable
from dask_em.execution import differences
from dask_em.storage.blocks import Layout, Reader

__all__ = ["Kept", "begun_with", "data_digest", "kept", "resumed"]

MAY_CHANGE = frozenset({"tol", "stop_on", "max_iter", "max_minutes", "reproducible", "verbose", "verbose_interval"})
LOOKED_AT = 4  # blocks: each costs a storage unit's decoding
IN_WORDS = {  # as users of the estimator and of the command line say it
    "n_components": "the number of components",
    "covariance_type": "the type of covariance",
    "reg_covar": "the regularization",
    "n_init": "the number of restarts",
    "init_params": "the kind of start",
    "random_state": "the seed",
}

logger = logging.getLogger("dask_em")


@dataclass(frozen=True)
class Kept:
    """Where a fit's checkpoints go, and whether it goes on from what is there."""

    checkpoints: Checkpoints
    resume: bool

    @contextmanager
    def owned(self) -> Iterator[Checkpoint | None]:
        """Own the folder for the time of a fit, and give what it goes on from; None: it begins anew.

        Raises
        ------
        InputError
            There is nothing to resume, or something that a new fit would write over, or another fit owns the folder.
        """
        folder = self.checkpoints.folder
        if self.resume and not self.checkpoints.names():
            raise InputError(f"there is no checkpoint in {folder} to resume from; fit anew, without resuming")
        with self.checkpoints.owned():
            if not self.resume and self.checkpoints.names():
                raise InputError(
                    f"{folder} holds the checkpoints of an earlier fit; resume it (resume=True), or name another folder"
                )
            yield self.checkpoints.newest() if self.resume else None


def kept(checkpoints: Checkpoints | str | Path | None, resume: bool) -> Kept | None:
    """Return where checkpoints are kept, if any are.

    Raises
    ------
    InputError
        There is no folder to resume from.
    """
    if checkpoints is None:
        if resume:
            raise InputError("resume=True, but no folder of checkpoints is given; name it: checkpoints='run/'")
        return None
    if not isinstance(checkpoints, Checkpoints | str | os.PathLike):
        raise InputError(f"checkpoints is {checkpoints!r}; give the folder that holds them, as a path or URL")
    return Kept(checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints(checkpoints), resume)


def begun_with(settings: Mapping[str, Any]) -> str:
    """Return the settings that a resumed fit must have again, as JSON."""
    return json.dumps(portable({k: v for k, v in settings.items() if k not in MAY_CHANGE}), sort_keys=True)


def data_digest(layout: Layout) -> str:
    """Return a digest of the first rows of a few blocks: other data under the same name is noticed, as a rule."""
    hashed = hashlib.sha256(repr((layout.source.schema.names, layout.source.schema.dtype.str)).encode())
    reader, last = Reader(layout.source, layout.slab_rows), len(layout.blocks) - 1
    for index in sorted({last * i // (LOOKED_AT - 1) for i in range(LOOKED_AT)}):
        block = layout.blocks[index]
        piece = dataclasses.replace(block.pieces[0], stop=min(block.pieces[0].stop, block.pieces[0].start + 1024))
        for rows in reader.slabs(dataclasses.replace(block, pieces=(piece,))):
            hashed.update(rows.values.tobytes())
            hashed.update(rows.weight.tobytes())
    return hashed.hexdigest()


def resumed(found: Checkpoint, now: Checkpoint, stopping: Stopping, strict: bool) -> Checkpoint:
    """Return the checkpoint to go on from, judged by today's stopping rule.

    Parameters
    ----------
    found, now
        What was saved, and what the fit would save if it began now; ``now`` has no states.

    Raises
    ------
    InputError
        It is another fit, over other rows, or must be ``strict`` about another arithmetic.
    """
    _require_same_settings(json.loads(found.settings), json.loads(now.settings))
    if found.rows != now.rows:
        raise InputError(
            f"the data has {now.rows:,} rows, and had {found.rows:,} when the checkpoint was written; "
            "fit it anew, without resuming"
        )
    if found.plan != now.plan:
        raise InputError(
            "the data is cut into other pieces than when the checkpoint was written (other chunks, files or another "
            "version of dask_em), so that sums would be taken in another order; fit it anew, without resuming"
        )
    if found.data != now.data:
        raise InputError("the rows are others than when the checkpoint was written; fit them anew, without resuming")
    if found.environment != now.environment:
        what = differences([found.environment, now.environment])
        if strict:
            raise InputError(
                f"the checkpoint was written with another arithmetic ({what}); resume where it is the same"
            )
        logger.warning("the checkpoint was written with another arithmetic (%s): the last bits may differ", what)
    logger.info("goes on after pass %d", found.passes, extra={"event": "resumed", "pass": found.passes})
    return found.judged_by(stopping)


def _require_same_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in sorted(then.keys() | now.keys()):
        was, told = then.get(name), now.get(name)
        if was != told:
            array = isinstance(was, dict) or isinstance(told, dict)
            what = "is another than" if array else f"is {told!r}, and was {was!r}"
            raise InputError(
                f"{IN_WORDS.get(name, name)} {what} when the checkpoint was written; give it as it was, or fit anew, "
                "without resuming"
            )
