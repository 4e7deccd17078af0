"""Every public function against PyTorch and against finite differences, from the records of the op table."""

from __future__ import annotations

import pytest

from tinygrad_edu.testing import op_table

RECORDS = [record for family in op_table.records().values() for record in family]
DIFFERENTIABLE = [r for r in RECORDS if r.differentiable]


def by_name(records):
    return pytest.mark.parametrize("record", records, ids=[r.name for r in records])


@by_name(RECORDS)
def test_forward_as_in_torch(record):
    op_table.check_forward(record)


@by_name(DIFFERENTIABLE)
def test_gradient_as_in_torch(record):
    op_table.check_gradient(record)


@by_name([r for r in DIFFERENTIABLE if r.gradcheck])
def test_gradient_as_finite_differences(record):
    op_table.check_finite_differences(record)


@by_name(RECORDS)
def test_misuse_is_refused_as_in_torch(record):
    op_table.check_errors(record)
