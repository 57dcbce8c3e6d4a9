"""``dask-em fit``: from a config to a run directory."""

from __future__ import annotations

import dataclasses
import shlex
import time
from contextlib import ExitStack, closing
from logging import Logger
from typing import Annotated, Any

import typer
from rich.console import Console

from dask_em import __version__
from dask_em.cli.given import program
from dask_em.cli.guard import say, stopped_by, telling, told_once
from dask_em.cli.progress import Progress
from dask_em.cli.run_directory import CONFIG, RunDirectory, finished, run_directory
from dask_em.cli.settings import client_of, estimator_of, part_of, performance_of, source_of, spooled_of
from dask_em.cli.summary import selection_of, summary_of
from dask_em.config import Config, dump_config, load_config
from dask_em.driver import Checkpoints, State
from dask_em.errors import InputError
from dask_em.estimators import GaussianMixture, GaussianMixtureSearch
from dask_em.execution import workforce
from dask_em.execution.ranks import command
from dask_em.report import HistoryTable, Member, Selection, log_likelihood_picture
from dask_em.storage import Source
from dask_em.storage.folder import Folder
from dask_em.storage.secrets import HIDDEN, holds_secrets, without_credentials

__all__ = ["fit"]


def fit(
    config: Annotated[str, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=c", help="Use another value for a key of the config.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run directory.")
    ] = False,
) -> None:
    """Fit the model that CONFIG describes, into its run directory."""
    with told_once(config, overrides or []):
        settings = load_config(config, overrides or [])
        part = part_of(settings.cluster)
    equals = command() if settings.cluster.kind == "mpi" else []
    sets = (word for each in overrides or [] for word in ("--set", _told(each)))
    named = without_credentials(config)
    again = [*equals, program(), "fit", named, *sets]
    with part:
        _fit(settings, named, again, resume)


def _fit(settings: Config, config: str, again: list[str], resume: bool) -> None:
    """Fit into the run directory; tell where things are, or how to go on with ``again``."""
    source = source_of(settings.data)
    with ExitStack() as stack:
        run = stack.enter_context(run_directory(settings.output))
        checkpoints = Checkpoints(run.checkpoints, settings.fit.checkpoint_every)
        aside = stack.enter_context(run.claimed(checkpoints, resume))
        logger = stack.enter_context(run.logged(settings.output.log))
        if aside is not None:
            _tell_moved(run, aside)
        logger.info("dask-em %s %s %s", __version__, "resumes" if resume else "fits", config, extra={"event": "begin"})
        began = time.perf_counter()
        if not resume:  # which may yet be refused
            run.config.write_text(dump_config(settings), encoding="utf-8")
        try:
            model, selection = _fitted(settings, source, run, checkpoints, logger, resume)
        except BaseException as end:
            _tell_end(end, checkpoints, shlex.join([*again, "--resume"]), logger)
            raise
        text = summary_of(model, None if resume else time.perf_counter() - began).text()
        text = f"{selection.text()}\n\n{text}" if selection else text
        logger.info("done\n%s", text)
    more = _more(model.outcome_.kind, settings.fit.max_passes)
    following = _next(settings, config, run) if more is None else shlex.join([*again, *more, "--resume"])
    typer.echo(f"\n{text}\n\n{_where(run, selection is not None)}\n\nnext: {following}")


def _fitted(
    settings: Config, source: Source, run: RunDirectory, checkpoints: Checkpoints, logger: Logger, resume: bool
) -> tuple[GaussianMixture, Selection | None]:
    estimator, members = estimator_of(settings), Members()
    found = checkpoints.newest() if resume else None
    histories = {members.of(i, state): list(state.history) for i, state in enumerate(found.states)} if found else {}
    ends = {members.of(i, state): _end(state) for i, state in enumerate(found.states)} if found else {}
    before, table = sum(map(len, histories.values())), HistoryTable(run.history)
    with (
        client_of(settings.cluster) as client,
        performance_of(client, run.performance if settings.output.performance_report else None),
        Progress(settings, Console(stderr=True)) as progress,
        telling("compiling", "sample fitted"),
    ):
        _tell_workers(client, progress, logger)
        asked = 0  # once a pass, which all members share: the scheduler answers it
        rows = spooled_of(settings.data, source, client)
        with closing(estimator.iterate(rows, client=client, checkpoints=checkpoints, resume=resume)) as iterations:
            for iteration in iterations:
                if iteration.entry.number > asked:
                    asked = iteration.entry.number
                    _tell_workers(client, progress, logger)
                member = members.of(iteration.member, iteration.state)
                entries = histories.setdefault(member, [])
                entries.append(iteration.entry)
                ends[member] = _end(iteration.state)
                table.update(histories, ends)
                told = {"event": "pass", "pass": iteration.entry.number, **dataclasses.asdict(member)}
                logger.info(progress.show(member, entries, iteration.state), extra=told)
                run.desk.refresh()
    if found and sum(map(len, histories.values())) == before:
        say(f"the fit in {run.folder} has ended before, and no pass was left to make")
    table.update(histories, ends)
    model = estimator.best_estimator_ if isinstance(estimator, GaussianMixtureSearch) else estimator
    selection = selection_of(estimator) if isinstance(estimator, GaussianMixtureSearch) else None
    if selection:
        selection.write(run.selection)
        selection.picture(run.selection_picture)
    best = next((member for member, entries in histories.items() if tuple(entries) == model.history_), None)
    log_likelihood_picture(histories, run.picture, model.outcome_.sentence, best)
    run.config.write_text(dump_config(settings), encoding="utf-8")
    model.save(run.model)
    return model, selection


class Members:
    """The fits that share the passes, by their numbers: restarts are counted for each model."""

    def __init__(self) -> None:
        self._known: dict[int, Member] = {}

    def of(self, number: int, state: State) -> Member:
        """Return a fit's model and restart."""
        if number not in self._known:
            earlier = sum(member.model == state.name for member in self._known.values())
            self._known[number] = Member(state.name, earlier + 1)
        return self._known[number]


def _end(state: State) -> str:
    return state.outcome.sentence if state.outcome else ""


def _tell_workers(client: Any, progress: Progress, logger: Logger) -> None:
    """Tell how many workers compute, where there are some and their number is another than before."""
    told = progress.show_workers(workforce(client)) if client is not None else None
    if told:
        logger.info(told, extra={"event": "workers"})


def _tell_moved(run: RunDirectory, aside: Folder) -> None:
    """Tell where an earlier run is now, and how to go on with it if it could."""
    ended = finished(aside)
    say(f"the {'finished' if ended else 'unfinished'} run that was in {run.folder} is now in {aside}")
    if not ended and aside.modified(CONFIG) is not None:
        there = ["--set", f"output.directory={aside}", "--resume"]
        say(f"to go on with it instead:\n  {shlex.join([program(), 'fit', aside.file(CONFIG), *there])}")


def _tell_end(end: BaseException, checkpoints: Checkpoints, line: str, logger: Logger) -> None:
    """Tell what is kept of a fit that ends early, and how to go on; not where it was refused at once."""
    if isinstance(end, InputError) and not checkpoints.saved:
        return
    why = stopped_by(end) if isinstance(end, KeyboardInterrupt) else "ended early"
    if checkpoints.names():
        say(f"what was reached is kept in {checkpoints.folder}; to go on:\n  {line}")
        logger.warning("%s; to go on: %s", why, line, extra={"event": "ended early"})
    elif isinstance(end, KeyboardInterrupt):
        say("nothing was reached yet that could be resumed")
        logger.warning("%s before anything was reached", why, extra={"event": "ended early"})


def _told(override: str) -> str:
    """Return an override as a log may repeat it: some options may be secrets."""
    path, _, _ = override.partition("=")
    return f"{path}={HIDDEN}" if holds_secrets(path.strip()) else without_credentials(override)


def _where(run: RunDirectory, chosen: bool) -> str:
    return "\n".join(
        f"  {run.shown(path)}  {what}"
        for path, what in (
            (run.model, "the model"),
            *(
                (
                    (run.selection, "the models that it was chosen from"),
                    (run.selection_picture, "what was compared, as a picture"),
                )
                if chosen
                else ()
            ),
            (run.history, "a line for each pass"),
            (run.picture, "the log-likelihood by pass, as a picture"),
            (run.config, "the config as it was used"),
        )
    )


def _more(kind: str, max_passes: int) -> list[str] | None:
    """Return what a fit that came to a limit has to be given to go on; None where it came to an end of its own."""
    return {"max_passes": ["--set", f"fit.max_passes={2 * max_passes}"], "max_minutes": []}.get(kind)


def _next(settings: Config, config: str, run: RunDirectory) -> str:
    """Return the command that uses the model: over the source alone where that says all, else over the config."""
    data = settings.data
    plain = data == type(data)(source=data.source, weights=data.weights, columns=data.columns, missing=data.missing)
    source = data.source if plain and not settings.output.storage_options else config
    return shlex.join([program(), "predict", run.shown(run.model), without_credentials(source), "--out", "labels.zarr"])
