"""Work on the threads of this process, against a plain loop."""

from __future__ import annotations

import threading
import time

import dask
import pytest
from dask.callbacks import Callback

from xlabelstats.engine.local import map_locally


def thread(_: object) -> str:
    return threading.current_thread().name


class Counter(Callback):
    """How many tasks dask has finished."""

    def __init__(self) -> None:
        self.finished = 0
        super().__init__(posttask=self.count)

    def count(self, *_: object) -> None:
        self.finished += 1


def test_results_come_in_the_order_of_the_items():
    assert map_locally(lambda i: i**2, range(1000)) == [i**2 for i in range(1000)]
    assert map_locally(thread, []) == []


def test_the_threads_are_as_many_as_dask_has():
    # Nobody passes a barrier of three alone.
    barrier = threading.Barrier(3, timeout=60)
    with dask.config.set(num_workers=3):
        assert sorted(map_locally(lambda _: barrier.wait(), range(3))) == [0, 1, 2]
        assert len(set(map_locally(thread, range(100)))) <= 3


@pytest.mark.parametrize("one", [{"scheduler": "sync"}, {"num_workers": 1}])
def test_none_is_started_where_dask_has_one(one):
    with dask.config.set(one):
        assert set(map_locally(thread, range(9))) == {threading.current_thread().name}


def test_none_is_started_within_them():
    assert all(len(set(names)) == 1 for names in map_locally(lambda _: map_locally(thread, range(9)), range(4)))


def test_an_error_ends_it():
    done = []

    def failing(i: int) -> None:
        if i == 3:
            raise ZeroDivisionError(i)
        done.append(i)

    with dask.config.set(num_workers=2), pytest.raises(ZeroDivisionError, match="3"):
        map_locally(failing, range(100_000))
    assert len(done) < 99_999


class Interrupted(list):
    """Items that the user interrupts before they are all under way."""

    def __iter__(self):
        yield from range(1000)
        raise KeyboardInterrupt


def test_an_interrupt_ends_it():
    done = []

    def slow(i: int) -> None:
        done.append(i)
        time.sleep(0.01)

    with dask.config.set(num_workers=2), pytest.raises(KeyboardInterrupt):
        map_locally(slow, Interrupted(range(1000)))
    assert len(done) < 900


def test_bars_of_progress_are_told_of_every_item():
    with Counter() as counter:
        assert map_locally(lambda i: -i, range(20)) == [-i for i in range(20)]
    assert counter.finished == 20


def test_a_cache_of_dask_does_not_take_one_call_for_another():
    keys = []
    with Callback(posttask=lambda key, *_: keys.append(key)):
        for _ in range(2):
            map_locally(abs, range(5))
    assert len(set(keys)) == len(keys) == 10
