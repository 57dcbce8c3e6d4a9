from pathlib import Path

ROOT = Path(__file__).parent.parent
AIM, LIMIT = 300, 400
LONGER: dict[str, str] = {}  # each with the reason why it is one idea and no two


def lengths() -> dict[str, int]:
    package = ROOT / "dask_em"
    return {
        str(path.relative_to(package)): len(path.read_text().splitlines()) for path in sorted(package.rglob("*.py"))
    }


def test_without_a_reason() -> None:
    assert {name: length for name, length in lengths().items() if length > AIM and name not in LONGER} == {}


def test_with_any_reason() -> None:
    assert {name: length for name, length in lengths().items() if length > LIMIT} == {}


def test_and_no_reason_is_left_over() -> None:
    assert {name for name in LONGER if lengths()[name] <= AIM} == set()
