"""Every public function against PyTorch and against finite differences, from the records of the op table."""

from __future__ import annotations

import pytest

from tinygrad_edu.testing import op_table

FAMILIES = op_table.records()
RECORDS = [pytest.param(r, id=f"{family}-{r.name}") for family, records in FAMILIES.items() for r in records]
DIFFERENTIABLE = [p for p in RECORDS if p.values[0].differentiable]
SMOOTH = [p for p in DIFFERENTIABLE if p.values[0].gradcheck]


@pytest.mark.parametrize("record", RECORDS)
def test_forward_as_in_torch(record):
    op_table.check_forward(record)


@pytest.mark.parametrize("record", DIFFERENTIABLE)
def test_gradient_as_in_torch(record):
    op_table.check_gradient(record)


@pytest.mark.parametrize("record", SMOOTH)
def test_gradient_as_finite_differences(record):
    op_table.check_finite_differences(record)


@pytest.mark.parametrize("record", RECORDS)
def test_misuse_is_refused_as_in_torch(record):
    op_table.check_errors(record)
