"""The section of a config that says where to compute."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from dask_em.config.words import ONE, SEVERAL, STRICT, Count, Options, Size, Text, several
from dask_em.execution.kinds import KINDS, KindName, misfit

__all__ = ["Cluster", "Security"]


class Security(BaseModel):
    """Files by which scheduler, workers and client know one another."""

    model_config = STRICT
    ca_file: Text = Field(description="The path of the authority's certificate (PEM), on every machine.")
    cert: Text = Field(description="The path of the certificate (PEM).")
    key: Text = Field(description="The path of its private key (PEM).")


class Cluster(BaseModel):  # type: ignore[no-redef]  # "kwargs", of the plugin's own __init__
    """Where to compute."""

    model_config = STRICT
    kind: KindName = Field("threads", description=f"Where: {'; '.join(f'{n}: {k.what}' for n, k in KINDS.items())}.")
    workers: Count | None = Field(
        None, description="Processes to start: jobs of one process, ranks or pods; null: one per core (local)."
    )
    threads_per_worker: Count = Field(1, description="Threads of each process.")
    memory_limit: Size | None = Field(None, description="Memory of each process, such as 2GiB.")
    address: Text | None = Field(
        None, description="The scheduler's address (address), such as tcp://host:8786; or the gateway's (gateway)."
    )
    scheduler_file: Text | None = Field(
        None, description="A file that `dask scheduler --scheduler-file` writes or will write (address)."
    )
    least_workers: Count | None = Field(
        None, description="Give workers back while there is little to do, but so many; null: keep all of them."
    )
    hosts: Annotated[tuple[Text, ...], Field(min_length=2, strict=False)] | None = Field(
        None, description="The scheduler's host, then each worker's (ssh)."
    )
    walltime: Annotated[str, Field(pattern=r"^([0-9]+-)?[0-9]+:[0-9]{2}:[0-9]{2}$")] | None = Field(
        None, description="Time that each job may take: HH:MM:SS or D-HH:MM:SS; jobs are replaced before it ends."
    )
    queue: Text | None = Field(None, description="The queue or partition that jobs go to.")
    account: Text | None = Field(None, description="The account or project that jobs are charged to.")
    interface: Text | None = Field(
        None, description="The network interface that scheduler and workers talk over, such as ib0."
    )
    class_: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        None, alias="class", description="module:Class of a cluster of Dask's kind (custom), such as coiled:Cluster."
    )
    kwargs: Options = Field(
        default_factory=dict, description="Further arguments of the library's own class, as its documentation has them."
    )
    security: (
        Annotated[Annotated[Literal["tls"], Tag(ONE)] | Annotated[Security, Tag(SEVERAL)], Discriminator(several)]
        | None
    ) = Field(
        None,
        description="tls: encrypt, with certificates made for this fit alone; or the paths of your own; null: neither.",
    )
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Seconds to wait for the scheduler's answer and for the first worker; null: 30, 600 where "
        "machines may have to come first (kubernetes, gateway, custom), 3600 where jobs wait in a queue.",
    )
    resident: Size | None = Field(
        None,
        description="Bytes of rows, over all workers, that stay in memory between passes, such as 4GiB or 0B; null: as "
        "many as half of the free memory holds. The others are read again in each pass.",
    )
    patience: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds after which a pass in which nothing moved is tried again; null: 300."
    )

    @model_validator(mode="after")
    def _keys_fit_kind(self) -> Self:
        given = {name.rstrip("_"): value for name, value in self if value is not None and value != {}}
        wrong = misfit(self.kind, given)
        if wrong:
            raise ValueError(wrong)
        return self
