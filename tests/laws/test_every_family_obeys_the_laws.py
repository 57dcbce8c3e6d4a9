import pytest

from dask_em.testing import Case, FamilyLaws
from tests.families import CASES


class TestEveryFamily(FamilyLaws):
    @pytest.fixture(params=CASES, ids=lambda case: case.name)
    def case(self, request: pytest.FixtureRequest) -> Case:
        return request.param
