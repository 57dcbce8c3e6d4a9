"""The typed tree behind the YAML: data, model, fit, cluster, output; what is wrong in it, a sentence each."""

from dask_em.config.places import Cluster, Security
from dask_em.config.reading import dump_config, json_schema, kind_named, load_config
from dask_em.config.tree import Config, Data, Fit, Model, Output

__all__ = [
    "Cluster",
    "Config",
    "Data",
    "Fit",
    "Model",
    "Output",
    "Security",
    "dump_config",
    "json_schema",
    "kind_named",
    "load_config",
]
