"""The laws that every family obeys, to be tested over your own.

``class TestMine(FamilyLaws)`` with a pytest fixture ``case`` that returns ``Case("mine", MyFamily(), draw=my_rows)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em._record import digest, dump, restore, values_equal
from dask_em.family import Family
from dask_em.kernel import summarize
from dask_em.mixture import Free, Mixture, MixtureParameters, MixtureStatistics, Weights
from dask_em.rows import Frame, Rows

__all__ = ["Case", "FamilyLaws", "permuted"]

Array = np.ndarray[Any, Any]


def permuted(value: Any, order: Array, components: int) -> Any:
    """Return a record with its components in another order: every array whose first axis is k."""
    tree, arrays = dump(value)
    moved = {
        path: array[order] if array.ndim and array.shape[0] == components else array for path, array in arrays.items()
    }
    return restore(tree, moved)


@dataclass(frozen=True)
class Case:
    """A family, and rows that it could have drawn."""

    name: str
    family: Family[Any, Any]
    draw: Callable[[np.random.Generator, int], Array]  # (n, d) rows
    components: int = 3
    move: Callable[[Array], Array] | None = None  # an affine map of rows under which the family is closed
    rises: bool = True  # whether an M-step never lowers the objective: not with a plain regularisation
    order_free: bool = True  # False where an array that is not by component has k rows, or components differ in kind
    weights: Weights = dataclasses.field(default_factory=Free)

    @property
    def model(self) -> Mixture[Any]:
        """The mixture under test."""
        return Mixture(self.family, self.weights)

    def rows(self, n: int = 400, seed: int = 0) -> Rows:
        """Return rows with weights between 0.5 and 2."""
        random = np.random.default_rng(seed)
        return Rows.of(self.draw(random, n), random.uniform(0.5, 2.0, n))

    def begin(self, rows: Rows, seed: int = 1) -> tuple[Frame, MixtureParameters]:
        """Return a frame and a start from random responsibilities."""
        frame = self.family.frame(np.average(np.asarray(rows.values, np.float64), axis=0, weights=rows.weight))
        resp = np.random.default_rng(seed).dirichlet(np.ones(self.components), len(rows)).T
        return frame, self.model.start(Rows.of(frame.enter(rows.values), rows.weight), resp)

    def pass_over(self, rows: Rows, frame: Frame, params: MixtureParameters) -> MixtureStatistics:
        """Return the statistics of one pass."""
        return summarize((self.model.prepare(params, frame),), 128, rows).members[0]  # type: ignore[no-any-return]  # a Joint of one

    def run(self, rows: Rows, passes: int) -> tuple[Frame, MixtureParameters, list[float]]:
        """Return the frame, the parameters after so many passes, and the objective of each."""
        frame, params = self.begin(rows)
        objectives = []
        for _ in range(passes):
            stats = self.pass_over(rows, frame, params)
            objectives.append(self.model.objective(stats, params))
            params = self.model.maximize(stats, params)
        return frame, params, objectives


def _close(a: Any, b: Any, relative: float = 1e-10) -> None:
    arrays_a, arrays_b = dump(a)[1], dump(b)[1]
    assert arrays_a.keys() == arrays_b.keys()
    for path, array in arrays_a.items():
        scale = np.abs(arrays_b[path]).max(initial=1e-300)
        np.testing.assert_allclose(array, arrays_b[path], rtol=relative, atol=relative * scale, err_msg=path)


class FamilyLaws:
    """One test a law."""

    def test_statistics_of_two_blocks_add_up(self, case: Case) -> None:
        """S(A and B) = S(A) + S(B)."""
        rows = case.rows()
        frame, params = case.begin(rows)
        parts = case.pass_over(rows[:150], frame, params) + case.pass_over(rows[150:], frame, params)
        whole = case.pass_over(rows, frame, params)
        _close(parts, whole)
        assert parts.rows == whole.rows
        assert np.isclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-12)

    def test_twice_the_statistics_are_those_of_twice_the_weight(self, case: Case) -> None:
        """2 S(w) = S(2 w)."""
        rows = case.rows()
        frame, params = case.begin(rows)
        doubled = case.pass_over(Rows.of(rows.values, 2 * rows.weight), frame, params)
        _close(2 * case.pass_over(rows, frame, params), doubled)

    def test_weight_two_is_the_row_twice(self, case: Case) -> None:
        """And weight 0 is the row absent."""
        rows = case.rows()
        weight = np.arange(len(rows)) % 3
        weighted = Rows.of(rows.values, weight)
        repeated = Rows.of(np.repeat(rows.values, weight, axis=0))
        frame, params = case.begin(rows)
        one, other = case.pass_over(weighted, frame, params), case.pass_over(repeated, frame, params)
        _close(one, other)
        assert np.isclose(one.log_likelihood, other.log_likelihood, rtol=1e-12)
        _close(case.model.maximize(one, params), case.model.maximize(other, params), 1e-9)

    def test_sums_can_be_moved_to_another_reference(self, case: Case) -> None:
        """They then add to those gathered there, call for the same parameters, and can be moved back."""
        rows, model = case.rows(), case.model
        frame, params = case.begin(rows)
        other = case.begin(rows, seed=2)[1]
        stats = case.pass_over(rows, frame, params)
        moved = model.translate(stats, other)
        sums = moved + model.translate(case.pass_over(rows, frame, other), other)
        assert sums.rows == 2 * len(rows)
        _close(model.maximize(moved, params), model.maximize(stats, params), 1e-9)
        _close(model.translate(moved, params), model.translate(stats, params))
        if case.family.geometry() is not None:
            assert np.isclose(model.q(moved, params), model.q(stats, params), rtol=1e-11)

    def test_the_objective_never_falls(self, case: Case) -> None:
        """An EM step does not lower log-likelihood plus log-prior."""
        if case.rises:
            objectives = case.run(case.rows(), 30)[2]
            assert np.diff(objectives).min() >= -1e-10
            assert objectives[-1] > objectives[0]

    def test_the_gain_is_certified(self, case: Case) -> None:
        """L(θ') − L(θ) ≥ Q(θ', θ) − Q(θ, θ), and the M-step maximises Q."""
        model, rows = case.model, case.rows()
        if not case.rises or case.family.geometry() is None:
            return
        frame, params = case.begin(rows)
        stats = case.pass_over(rows, frame, params)
        new = model.maximize(stats, params)
        gain = model.q(stats, new) - model.q(stats, params)
        rise = model.objective(case.pass_over(rows, frame, new), new) - model.objective(stats, params)
        assert rise >= gain - 1e-10
        assert gain >= -1e-12

    def test_coordinates_lead_back(self, case: Case) -> None:
        """And every coordinate near them belongs to sound parameters."""
        model, (_, params) = case.model, case.begin(case.rows())
        geometry = model.geometry()
        if geometry is None:
            return
        coordinates = geometry.coordinates(params)
        again = geometry.parameters(coordinates, params)
        near = geometry.parameters(
            coordinates + 0.1 * np.random.default_rng(0).standard_normal(coordinates.size), params
        )
        _close(again, params)
        assert near is not None

    def test_the_metric_is_that_of_em(self, case: Case) -> None:
        """Q(θ + d, θ) = Q(θ, θ) − ½ |W(d)|² at a fixed point, where its slope is zero: W's length is Q's curvature."""
        model, rows = case.model, case.rows()
        geometry = model.geometry()
        if geometry is None or not case.rises:
            return
        frame, params = case.begin(rows)
        stats = case.pass_over(rows, frame, params)
        top = model.maximize(stats, params)  # Q's maximum for these statistics
        coordinates, whiten = geometry.coordinates(top), geometry.whitening(top)
        direction = np.random.default_rng(1).standard_normal(coordinates.size)
        direction *= 1e-3 / np.linalg.norm(whiten(direction))
        values = [model.q(stats, geometry.parameters(coordinates + s * direction, top)) for s in (-1, 0, 1)]  # type: ignore[arg-type]  # sound, so near
        curvature = -(values[0] - 2 * values[1] + values[2])
        assert np.isclose(curvature, float(whiten(direction) @ whiten(direction)), rtol=1e-2)

    def test_components_have_no_order(self, case: Case) -> None:
        """Permuted parameters give the same density and permuted statistics."""
        if not case.order_free:
            return
        rows, k = case.rows(), case.components
        order = np.roll(np.arange(k), 1)
        frame, params = case.begin(rows)
        stats = case.pass_over(rows, frame, params)
        other = case.pass_over(rows, frame, permuted(params, order, k))
        assert np.isclose(stats.log_likelihood, other.log_likelihood, rtol=1e-12)
        _close(other, permuted(stats, order, k))

    def test_moving_the_data_moves_the_fit(self, case: Case) -> None:
        """Fits of moved rows give the moved rows the same responsibilities."""
        if case.move is None:
            return
        rows = case.rows()
        moved = Rows.of(case.move(rows.values), rows.weight)
        model = case.model
        frame, params, _ = case.run(rows, 10)
        frame_moved, params_moved, _ = case.run(moved, 10)
        resp = model.prepare(params, frame).evaluate(rows)[1]
        resp_moved = model.prepare(params_moved, frame_moved).evaluate(moved)[1]
        np.testing.assert_allclose(resp_moved, resp, atol=1e-6)

    def test_save_and_load_is_identity(self, case: Case) -> None:
        """Model, frame, parameters and statistics come back bit for bit."""
        rows = case.rows()
        frame, params = case.begin(rows)
        for value in (case.model, frame, params, case.pass_over(rows, frame, params)):
            again = restore(*dump(value))
            assert values_equal(value, again)
            assert digest(value) == digest(again)

    def test_responsibilities_are_probabilities(self, case: Case) -> None:
        """They are not negative and sum to one in every row."""
        rows = case.rows()
        frame, params = case.begin(rows)
        resp = case.model.prepare(params, frame).evaluate(rows)[1]
        assert resp.shape == (case.components, len(rows))
        assert (resp >= 0).all()
        np.testing.assert_allclose(resp.sum(axis=0), 1.0, atol=1e-12)

    def test_several_models_share_a_pass(self, case: Case) -> None:
        """A model's statistics are the same bits alone and in company."""
        rows, model = case.rows(), case.model
        frame, params = case.begin(rows)
        other = case.begin(rows, seed=2)[1]
        alone = case.pass_over(rows, frame, params)
        both = (model.prepare(other, frame), model.prepare(params, frame))
        assert digest(summarize(both, 128, rows).members[1]) == digest(alone)
