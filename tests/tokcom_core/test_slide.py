import numpy as np
import pytest
import torch

from tokcom_core.slide import slide


@pytest.mark.parametrize("length", [1, 2, 50, 117, 1214, 3137])
def test_first_and_last_included_and_even(length: int) -> None:
    for count in {1, 2, min(7, length), length} - {c for c in (2,) if length < 2}:
        positions = slide(length, count)
        assert len(set(positions.tolist())) == count
        assert positions[0] == 0
        if count > 1:
            assert positions[-1] == length - 1
            gaps = np.diff(positions)
            assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("count", [0, -1, 11])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 10"):
        slide(10, count)


@pytest.mark.parametrize(("length", "count"), [(1214, 64), (3137, 23), (3137, 128), (117, 45)])
def test_floored_positions_are_those_of_the_papers_code(length: int, count: int) -> None:
    positions = slide(length, count, "floor")
    assert positions.tolist() == torch.linspace(0, length - 1, steps=count).long().tolist()
    assert positions[0] == 0
    assert positions[-1] == length - 1
    assert (positions != slide(length, count)).any()
