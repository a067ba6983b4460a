from __future__ import annotations

import gc

import pytest

from memplan.solver.collector import old_objects_left_alone


def _fail_in_between() -> None:
    with old_objects_left_alone():
        assert gc.get_freeze_count() > 0
        raise RuntimeError("in between")


def test_what_was_there_is_left_alone_until_the_end() -> None:
    assert gc.get_freeze_count() == 0
    with pytest.raises(RuntimeError, match="in between"):
        _fail_in_between()
    assert gc.get_freeze_count() == 0


def test_what_someone_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        with old_objects_left_alone():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
