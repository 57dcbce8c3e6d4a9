import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em import open_source
from dask_em.errors import InputError
from dask_em.plan import BLOCK_BYTES_MOST, BLOCKS_MOST, ModelSize, plan
from dask_em.storage.source import Atom
from tests.sources import Chunks

SIZE = ModelSize(components=4, products=21)


def source(sizes: tuple[int, ...], features: int = 5) -> Chunks:
    return Chunks(np.zeros((sum(sizes), features)), sizes)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=40), st.sampled_from([1, 1000, 65_536]))
def test_blocks_hold_every_row_once_and_in_order(sizes: list[int], align: int) -> None:
    chunks = source(tuple(sizes), 1)
    if sum(sizes) == 0:
        with pytest.raises(InputError, match="has no rows; give data with at least one row"):
            plan(chunks, chunks.atoms(), SIZE, align)
        return
    layout = plan(chunks, chunks.atoms(), SIZE, align).layout
    seen = [
        (piece.atom.where + piece.start, piece.atom.where + piece.stop) for b in layout.blocks for piece in b.pieces
    ]
    ends = [0, *(stop for _, stop in seen)]
    assert [start for start, _ in seen] == ends[:-1]
    assert ends[-1] == sum(sizes)
    assert [b.index for b in layout.blocks] == list(range(len(layout.blocks)))
    assert all(b.first % align == 0 and b.rows > 0 for b in layout.blocks)
    assert layout.slab_rows % layout.tile_rows == 0


def test_the_number_of_blocks_is_bounded_whatever_the_number_of_chunks() -> None:
    for chunks in (source((20,) * 100_000), source((1000,) * 2000), source((25_000,) * 80), source((31_250,) * 64)):
        assert 24 <= len(plan(chunks, chunks.atoms(), SIZE).layout.blocks) <= 64


@pytest.mark.parametrize("chunks", [64, 65, 100, 127, 1000, 100_000])
def test_the_number_of_tasks_is_the_same_at_any_number_of_chunks(chunks: int) -> None:
    atoms = [Atom(6_400_000 // chunks, 128_000_000 // chunks, f"chunk {i}") for i in range(chunks)]
    planned = plan(source((1,)), atoms, SIZE)
    assert (len(planned.layout.blocks), planned.tasks) == (64, 73)


def test_light_work_is_not_cut_into_more_blocks_than_pay() -> None:
    light, heavier = ModelSize(components=3, products=6), ModelSize(components=8, products=45)
    rows = open_source(np.zeros((2_000_000, 2)))
    few, more = (plan(rows, rows.atoms(), size).layout for size in (light, heavier))
    assert (len(few.blocks), len(more.blocks)) == (12, 32)
    assert few.slab_rows * 16 <= 4 * 2**20, "bytes of its values"
    assert few.slab_rows >= max(block.rows for block in few.blocks), "one call of the kernel a block"


def test_an_atom_is_cut_only_where_there_is_need() -> None:
    heavy = ModelSize(components=2000, products=231)
    two = source((500_000, 500_000), 20)
    light_blocks, heavy_blocks = (plan(two, two.atoms(), s).layout.blocks for s in (SIZE, heavy))
    assert len(light_blocks) == 8, "two workers need eight"
    assert len(heavy_blocks) == 8, "each piece of an atom would read all of it"
    heavier = plan(two, two.atoms(), ModelSize(components=20_000, products=231)).layout.blocks
    assert len(heavier) == 28, "about ten seconds of work in each"
    sixteen = source((62_500,) * 16, 20)
    assert len(plan(sixteen, sixteen.atoms(), SIZE).layout.blocks) == 16


def test_large_data_is_cut_by_bytes_and_by_work() -> None:
    shell = source((1,))
    atoms = [Atom(10_000_000, 2**40, f"chunk {i}") for i in range(100)]
    by_bytes = plan(shell, atoms, SIZE).layout
    assert len(by_bytes.blocks) <= 1.01 * BLOCKS_MOST
    assert max(sum(p.atom.nbytes * (p.stop - p.start) / 1e7 for p in b.pieces) for b in by_bytes.blocks) <= (
        1.5 * BLOCK_BYTES_MOST
    )
    atoms = [Atom(1_000_000, 8_000_000, f"chunk {i}") for i in range(1000)]
    heavy = ModelSize(components=200, products=2145)
    assert len(plan(shell, atoms, heavy).layout.blocks) > 3 * len(plan(shell, atoms, SIZE).layout.blocks)


def test_blocks_end_where_atoms_end_when_they_can() -> None:
    chunks = source((16_384,) * 33)
    assert all(p.stop - p.start == 16_384 for b in plan(chunks, chunks.atoms(), SIZE).layout.blocks for p in b.pieces)


def test_eight_tiles_make_eight_blocks() -> None:
    small = ModelSize(components=4, products=561)
    chunks = source((8 * small.tile_rows,))
    assert len(plan(chunks, chunks.atoms(), small).layout.blocks) == 8


def test_the_digest_is_of_the_cuts_and_not_of_the_values() -> None:
    one, other = source((30_000, 30_000)), source((30_000, 30_000))
    assert plan(one, one.atoms(), SIZE).digest == plan(other, other.atoms(), SIZE).digest
    third = source((30_001, 29_999))
    assert plan(one, one.atoms(), SIZE).digest != plan(third, third.atoms(), SIZE).digest


def test_a_plan_speaks_in_sentences() -> None:
    chunks = source((30_000, 30_000))
    text = " ".join(plan(chunks, chunks.atoms(), SIZE).sentences())
    assert "60,000 rows of 5 columns (float64) in 2 storage units" in text
    assert "product form, 21 features a row" in text
    assert "Statistics: 672 bytes of sums from each block." in text
    assert "decoded" not in text
    whole = source((1_000_000,))
    assert "Each unit is decoded 8.0 times" in " ".join(plan(whole, whole.atoms(), SIZE).sentences())


def test_memory_is_of_storage_units_slabs_sums_and_the_sample() -> None:
    def needed(chunks: Chunks, size: ModelSize = SIZE) -> int:
        return plan(chunks, chunks.atoms(), size).memory_bytes

    small, large = source((10_000,) * 100), source((500_000,) * 2)
    assert needed(large) - needed(small) >= 490_000 * 5 * 8, "larger storage units"
    assert needed(small, ModelSize(4000, 21)) - needed(small) >= 8 * 3996 * 21, "more sums"
    assert needed(small, ModelSize(4, 21, sample_rows=500_000)) - needed(small) >= 8 * 500_000 * 5, "a larger sample"


def test_what_does_not_fit_is_refused_with_both_numbers_and_a_remedy() -> None:
    chunks = source((1_000_000, 500_000))
    planned = plan(chunks, chunks.atoms(), SIZE)
    planned.require_memory(None, "")
    planned.require_memory(planned.memory_bytes, "")
    told = r"needs \S+ MiB for each worker thread, which has 20.0 MiB beside .* chunk 0, takes 38.1 MiB once decoded; "
    told += (
        r"the sums of a block take 672 bytes, the sample .* 0 bytes\). Buy more, or store the data in smaller chunks"
    )
    with pytest.raises(InputError, match=told):
        planned.require_memory(20 * 2**20, "Buy more")
