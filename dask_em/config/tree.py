"""The sections of a config and their keys.

Keys that later versions fill with life are known here already: their types allow what this version can do.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, field_validator, model_validator

from dask_em.config.places import Cluster
from dask_em.config.words import ONE, SEVERAL, STRICT, Count, Options, Text, several
from dask_em.storage.secrets import without_credentials

__all__ = ["COMING", "SECTIONS", "Config", "Data", "Fit", "Model", "Output", "keys"]

COMING = "Not in this version."
Kind = Literal["full", "tied", "diag", "spherical"]
Counts = Annotated[
    Annotated[Count, Tag(ONE)] | Annotated[tuple[Count, ...], Field(min_length=1, strict=False), Tag(SEVERAL)],
    Discriminator(several),
]
Kinds = Annotated[
    Annotated[Kind, Tag(ONE)] | Annotated[tuple[Kind, ...], Field(min_length=1, strict=False), Tag(SEVERAL)],
    Discriminator(several),
]


class Data(BaseModel):
    """Which rows to fit."""

    model_config = STRICT
    source: Text = Field(
        description="A path, a glob, a URL or an example (example:photo-patches). "
        "Relative paths start at the directory that the command is run in."
    )
    format: Literal["zarr", "parquet", "npy"] | None = Field(
        None, description="The kind of storage; null: told from the source."
    )
    array: Text | None = Field(None, description="The array's path inside a Zarr group.")
    columns: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)] | None = Field(
        None, description="The names of the columns to use; null: all of them."
    )
    feature_axis: int | None = Field(
        None, description="The axis of an N-dimensional array that holds the features; null: the last."
    )
    rows_per_atom: Count | None = Field(
        None, description="Rows per unit of reading, for storage that has no unit of its own (.npy)."
    )
    weights: Text | None = Field(
        None,
        description="The column that holds each row's weight, or the path of an array in the rows' Zarr group; null: "
        "all weigh 1.",
    )
    missing: Literal["error"] = Field("error", description="What to do about NaN: refuse the data.")
    missing_chunks: Literal["error", "fill"] = Field(
        "error", description="What to do about Zarr chunks that are not there: refuse, or read the fill value."
    )
    storage_options: Options = Field(
        default_factory=dict,
        description="Options of the file system of a URL (those of its fsspec class, or of its obstore class). "
        "Secrets are left out of all copies.",
    )
    reader: Literal["fsspec", "obstore"] = Field(
        "fsspec",
        description="What reads Zarr at a URL: obstore takes about a third of the CPU time, and has its own options.",
    )
    ids: None = Field(None, description=COMING)
    spool: Text | None = Field(
        None,
        description="A Zarr store (NAME.zarr) that the rows are written to once, where reading the source is dear; "
        "null: each pass reads the source.",
    )

    @field_validator("spool")
    @classmethod
    def _is_zarr(cls, spool: str | None) -> str | None:
        if spool is not None and not spool.rstrip("/").endswith(".zarr"):
            raise ValueError(
                f"is {without_credentials(spool)!r}; it must end with .zarr, since that is what rows are spooled to"
            )
        return spool


class Model(BaseModel):
    """What to fit."""

    model_config = STRICT
    family: Literal["gaussian"] = Field("gaussian", description="The distribution of each component.")
    components: Counts = Field(
        description="The number of components; a list: one is chosen, all are fitted in the same passes."
    )
    covariance: Kinds = Field(
        "full",
        description="Each its own matrix; one for all; each its own variances; each one variance. A list: choose.",
    )
    regularization: float = Field(
        1e-6, ge=0, description="Added to the diagonal of each covariance, in squared units of the data."
    )
    precision: Literal["float64", "auto"] = Field(
        "float64", description="The arithmetic of products: auto takes float32 where it is accurate enough."
    )
    reseed: bool = Field(
        False,
        description="Move a component that empties or collapses to where the data is worst explained; "
        "false: keep it, and tell.",
    )


class Fit(BaseModel):
    """Where to start and when to stop."""

    model_config = STRICT
    start: Literal["kmeans", "k-means++", "random", "random_from_data", "k-means||"] = Field(
        "kmeans",
        description="How the first parameters are found, on a uniform sample of the rows; k-means|| takes six more "
        "reads to add rows of clusters so small that the sample misses them.",
    )
    restarts: Count = Field(1, description="How many starts to try; all of them share each read of the data.")
    tolerance: float = Field(
        1e-3,
        ge=0,
        description="Stop when a pass changes what stop_on names by less than this (nats per row); accelerated, when "
        "less than a third of it is seen to be left, twice running.",
    )
    stop_on: Literal["log_likelihood", "parameters"] = Field(
        "log_likelihood",
        description="The mean log-likelihood per row, or the largest relative change of the parameters.",
    )
    max_passes: Count = Field(100, description="Stop after this many reads of the data.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Fixes every random choice.")
    accelerate: bool = Field(
        True, description="Take quasi-Newton steps made of EM's own: far fewer passes; false: plain EM."
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="End after the first pass beyond so many minutes, with a checkpoint to resume from."
    )
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of the rows, chosen by their hashed numbers, that models are scored on, not fitted to."
    )
    select_by: Literal["bic", "aic", "icl", "holdout"] = Field(
        "bic", description="What is lowest (for holdout: highest) for the model to choose, where there are several."
    )
    drop: bool = Field(
        True, description="Drop models that are seen to be worse than another; false: fit all of them to their end."
    )
    reproducible: Literal["warn", "strict"] = Field(
        "warn", description="What to do when workers' arithmetic (versions, kind of CPU) differs: tell, or stop."
    )
    checkpoint_every: float = Field(
        0.0, ge=0, description="Seconds between two checkpoints at least; 0: one after each pass."
    )

    @model_validator(mode="after")
    def _holdout_is_there(self) -> Self:
        if self.select_by == "holdout" and self.holdout is None:
            raise ValueError("select_by is holdout, but no rows are held out; say which share, such as holdout: 0.1")
        return self


class Output(BaseModel):
    """Where results go."""

    model_config = STRICT
    directory: Text = Field(
        description="The run directory, a path or URL: config, model, history, picture and log. "
        "A relative one starts at the directory that the command is run in."
    )
    storage_options: Options = Field(
        default_factory=dict,
        description="Options of the file system of a URL (fsspec). Secrets are left out of all copies.",
    )
    log: Literal["text", "json"] = Field(
        "text", description="How fit.log is written: for people, or a JSON object a line."
    )
    performance_report: bool = Field(
        False, description="Keep the cluster's own account of the fit, as a page (performance.html)."
    )


class Config(BaseModel):
    """What a config file says."""

    model_config = STRICT
    data: Data
    model: Model
    fit: Fit = Field(default_factory=Fit)
    cluster: Cluster = Field(default_factory=Cluster)
    output: Output

    @property
    def is_search(self) -> bool:
        """Whether a model is to be chosen, or scored on rows that are held out."""
        several = isinstance(self.model.components, tuple) or isinstance(self.model.covariance, tuple)
        return several or self.fit.holdout is not None

    @model_validator(mode="after")
    def _report_has_a_cluster(self) -> Self:
        if self.output.performance_report and self.cluster.kind in {"none", "threads"}:
            raise ValueError(
                "output.performance_report is a Dask cluster's own account, and cluster.kind is "
                f"{self.cluster.kind}; write another kind, such as local, or leave the report out"
            )
        return self


SECTIONS: dict[str, type[BaseModel]] = {"data": Data, "model": Model, "fit": Fit, "cluster": Cluster, "output": Output}


def keys() -> dict[str, str]:
    """Return every key by its full path, with its last part."""
    names = {name: [f.alias or key for key, f in section.model_fields.items()] for name, section in SECTIONS.items()}
    return {f"{name}.{key}": key for name, section in names.items() for key in section}
