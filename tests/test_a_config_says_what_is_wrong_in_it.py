from pathlib import Path

import pytest

from dask_em.config import load_config
from dask_em.errors import ConfigError

GOOD = """
data: {source: rows.zarr}
model: {components: 3}
output: {directory: runs/here}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("fit.tolerence=1", "unknown key fit.tolerence. Did you mean 'fit.tolerance'?"),
        ("model.tolerance=1", "unknown key model.tolerance. Did you mean 'fit.tolerance'?"),
        ("output.zzzz=1", "unknown key output.zzzz. Known: output.directory, output.storage_options, output.log"),
        ("fitt.seed=1", "unknown key fitt. Did you mean 'fit'?"),
        ("fit.max_iter=5", "unknown key fit.max_iter. Did you mean 'fit.max_passes'?"),
        ("model.reg_covar=0", "unknown key model.reg_covar. Did you mean 'model.regularization'?"),
        ("model.components=0", "model.components is 0; it must be at least 1"),
        ("model.components=1.5", "model.components is 1.5; it must be a whole number"),
        ("model.components=true", "model.components is true; it must be a whole number"),
        ("model.components=three", "model.components is 'three'; it must be a whole number"),
        ("model.family=gauss", "model.family is 'gauss'; it must be 'gaussian'"),
        ("model.covariance=round", "model.covariance is 'round'; it must be 'full', 'tied', 'diag' or 'spherical'"),
        ("model.regularization=-1", "model.regularization is -1; it must be at least 0"),
        (
            "fit.start=kmean",
            "fit.start is 'kmean'; it must be 'kmeans', 'k-means++', 'random', 'random_from_data' or 'k-means||'",
        ),
        ("fit.restarts=0", "fit.restarts is 0; it must be at least 1"),
        ("fit.tolerance=.nan", "fit.tolerance is NaN; it must be a finite number"),
        ("fit.tolerance=small", "fit.tolerance is 'small'; it must be a number"),
        ("fit.seed=4294967296", "fit.seed is 4294967296; it must be at most 4294967295"),
        ("fit.max_passes=null", "fit.max_passes is null; it must be a whole number"),
        ("data.source=''", "data.source is ''; it must be text that is not empty"),
        ("data.columns=[]", "data.columns is []; it must be a list that names at least one"),
        ("data.columns=[a, 1]", "data.columns.1 is 1; it must be text"),
        ("data.columns=a", "data.columns is 'a'; it must be a list"),
        ("data.missing=ignore", "data.missing is 'ignore'; it must be 'error'"),
        (
            "cluster.kind=cloud",
            "cluster.kind is 'cloud'; it must be 'none', 'threads', 'local', 'address', 'slurm', 'pbs',",
        ),
        ("cluster.workers=0", "cluster.workers is 0; it must be at least 1"),
        (
            "cluster.memory_limit=much",
            "cluster.memory_limit is 'much'; it must be a size such as 2GiB, 600MB, 0B or auto",
        ),
        ("cluster.resident=much", "cluster.resident is 'much'; it must be a size such as 2GiB, 600MB, 0B or auto"),
        ("cluster.resident=0", "cluster.resident is 0; it must be a size such as 2GiB, 600MB, 0B or auto"),
        ("cluster.patience=0", "cluster.patience is 0; it must be more than 0"),
        ("cluster.patience=long", "cluster.patience is 'long'; it must be a number"),
        ("fit.checkpoint_every=-1", "fit.checkpoint_every is -1; it must be at least 0"),
        ("fit.checkpoint_every=null", "fit.checkpoint_every is null; it must be a number"),
        ("fit.reproducible=always", "fit.reproducible is 'always'; it must be 'warn' or 'strict'"),
        ("data.spool=/tmp", "data.spool is '/tmp'; it must end with .zarr, since that is what rows are spooled to"),
        ("data.spool=7", "data.spool is 7; it must be text"),
        ("output.log=xml", "output.log is 'xml'; it must be 'text' or 'json'"),
        (
            "output.performance_report=true",
            "output.performance_report is a Dask cluster's own account, and cluster.kind is threads; write another",
        ),
        (
            "cluster.address=tcp://there:1",
            "cluster.address is given, but cluster.kind is threads; write kind: address or gateway to use it",
        ),
        ("cluster.kind=address", "cluster.address is missing; kind: address needs one, such as tcp://127.0.0.1:8786"),
        (
            "cluster.scheduler_file=scheduler.json",
            "cluster.scheduler_file is given, but cluster.kind is threads; write kind: address to use it",
        ),
        ("cluster={kind: slurm, workers: 2}", "cluster.memory_limit is missing; kind: slurm needs it, of each worker"),
        (
            "cluster={kind: address, address: 'tcp://there:1', scheduler_file: scheduler.json}",
            "cluster.address and cluster.scheduler_file are both given; leave one of them out",
        ),
        (
            "cluster={kind: custom, class: 'a:B', workers: 2, least_workers: 3}",
            "cluster.least_workers is 3, of cluster.workers, which is 2; it must be at most as many",
        ),
        (
            "cluster={kind: custom, class: 'a:B', least_workers: 3}",
            "cluster.least_workers is 3, of cluster.workers, which is not given; it must be at most as many",
        ),
        ("cluster={kind: custom}", "cluster.class is missing; kind: custom needs it, such as coiled:Cluster"),
        ("cluster={kind: custom, class: nonsense}", "cluster.class is 'nonsense'; it must be module:Class, such as"),
        ("cluster.walltime=4h", "cluster.walltime is '4h'; it must be HH:MM:SS, such as 04:00:00"),
        ("cluster.hosts=[one]", "cluster.hosts is"),
        ("cluster.security=ssl", "cluster.security is 'ssl'; it must be 'tls'"),
        (
            "cluster.security={ca_file: ca.pem, key: key.pem}",
            "cluster.security.cert is missing; give the path of the certificate",
        ),
        ("cluster.kwargs=secret", "cluster.kwargs must be a section of keys"),
        ("data.storage_options=secret", "data.storage_options must be a section of keys"),
        ("model.components", "is no override; write it as section.key=value, such as fit.seed=1"),
        ("seed=1", "is no override; write it as section.key=value, such as fit.seed=1"),
        ("fit.seed.x.y=1", "known are"),
        ("model.reseed=1", "model.reseed is 1; it must be true or false"),
        ("fit.seed=[", "--set fit.seed=[, line 1, column 2 is not valid YAML"),
    ],
)
def test_of_a_value(good: Path, override: str, sentence: str) -> None:
    overrides = ["fit.seed=1", override] if override.startswith("fit.seed.x") else [override]
    with pytest.raises(ConfigError) as caught:
        load_config(good, overrides)
    assert sentence in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("data.missing=drop", "'error'"),
        ("data.missing=marginalize", "'error'"),
        ("data.ids=name", "left out"),
    ],
)
def test_of_what_only_later_versions_can_do(good: Path, override: str, allowed: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=f"{key} is .*, which this version of dask_em cannot do yet; .* {allowed}$"):
        load_config(good, [override])


@pytest.mark.parametrize(
    "default",
    ["model.precision=float64", "model.reseed=false", "fit.accelerate=true", "fit.max_minutes=null", "data.ids=null"],
)
def test_not_of_their_defaults(good: Path, default: str) -> None:
    load_config(good, [default])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: {components: 3}\noutput: {directory: x}", "data is missing; give which rows to fit"),
        ("data: {source: x}\nmodel: {}\noutput: {directory: x}", "model.components is missing; give the number of c"),
        ("- 1", "holds no sections; a config has the sections data, model, fit, cluster, output"),
        ("", "holds no sections"),
        ("data: {source: x", "line 1, column 17 is not valid YAML"),
        (GOOD + "fit: 3\n", "fit is 3; it must be a section of keys"),
        (GOOD + "fit: {seed: 1, seed: 2}\n", "line 5, column 16 is not valid YAML: 'seed' is given twice"),
    ],
)
def test_of_a_file(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith((str(path), f"{path}, line"))


def test_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config .*none.yaml: No such file or directory; give the"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot read the config .*: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        load_config(tmp_path / "binary")


def test_once_for_each_fault(good: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(good, ["model.components=0", "fit.sed=1"])
    assert str(caught.value).splitlines() == [
        "--set model.components=0: model.components is 0; it must be at least 1",
        "--set fit.sed=1: unknown key fit.sed. Did you mean 'fit.seed'?",
    ]


def test_and_overrides_take_yaml_values(good: Path) -> None:
    config = load_config(
        good,
        [
            "fit.tolerance=1e-5",
            "model.reseed=true",
            "data.columns=[on, b]",
            "data.spool=there/rows.zarr",
            "fit.checkpoint_every=60",
            "fit.reproducible=strict",
            "cluster.resident=0B",
            "cluster.patience=90",
            "output.log=json",
            "cluster.kind=none",
            "data.storage_options.anon=true",
        ],
    )
    assert config.fit.tolerance == 1e-5
    assert config.model.reseed is True
    assert config.data.columns == ("on", "b")
    assert config.cluster.kind == "none"
    assert (config.fit.checkpoint_every, config.fit.reproducible) == (60, "strict")
    assert (config.cluster.resident, config.cluster.patience) == ("0B", 90)
    assert (config.data.spool, config.output.log) == ("there/rows.zarr", "json")
    assert config.data.storage_options == {"anon": True}
