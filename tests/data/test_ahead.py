"""Reading ahead: the same items, one of them early, and no thread left behind."""

import threading

import pytest

from arjax.core.errors import UserError
from arjax.data.batches import THREAD, read_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]


def test_items_come_in_order_from_a_thread_that_ends_with_them():
    def items():
        for i in range(20):
            assert threading.current_thread().name.startswith(THREAD)
            yield i

    assert list(read_ahead(items())) == list(range(20))
    assert not threads() and list(read_ahead(iter(()))) == []


def test_one_item_is_made_while_another_is_used():
    made, go = [], threading.Event()

    def items():
        for i in range(9):
            made.append(i)
            if i == 1:
                go.set()
            yield i

    coming = read_ahead(items())
    assert next(coming) == 0
    assert go.wait(10), "the second is made although nobody has asked for it"
    assert made == [0, 1]
    coming.close()
    assert made == [0, 1] and not threads()


def test_what_goes_wrong_in_the_thread_is_told_where_the_item_is_asked_for():
    def items():
        yield 1
        raise UserError("row 7 is damaged")

    coming = read_ahead(items())
    assert next(coming) == 1
    with pytest.raises(UserError, match="row 7 is damaged"):
        next(coming)
    assert not threads()
