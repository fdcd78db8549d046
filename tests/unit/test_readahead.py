"""Blocks that are filled ahead of who uses them."""

from __future__ import annotations

import threading

from bty.flash.blocks import Block, BlockPool
from bty.flash.readahead import ReadAhead

DEADLINE_S = 20.0


def counting(end: int):
    """Return what fills blocks with 0, 1, 2 and so on, *end* of them."""
    numbers = iter(range(end))

    def fill(block: Block, pool: BlockPool) -> bool:
        number = next(numbers, None)
        if number is None:
            return False
        block.view[0], block.length = number, 1
        return True

    return fill


def test_more_blocks_than_the_pool_has_come_in_order_and_the_end_stays_the_end():
    pool, failures = BlockPool(2), []
    ahead = ReadAhead(counting(9), pool, users=1, fail=failures.append, name="test")
    seen = []
    while block := ahead.take():
        seen.append(block.view[0])
        pool.give_back(block)
    assert seen == list(range(9))
    assert (ahead.take(), ahead.take()) == (None, None)
    ahead.close()
    assert failures == []


def test_what_fails_is_told_before_it_is_the_end():
    def fill(block: Block, pool: BlockPool) -> bool:
        raise OSError("the cable is out")

    failures: list[BaseException] = []
    ahead = ReadAhead(fill, BlockPool(2), users=1, fail=failures.append, name="test")
    assert ahead.take() is None
    assert [str(error) for error in failures] == ["the cable is out"]
    ahead.close()


def test_it_can_be_closed_while_nobody_takes_what_it_filled():
    """Whoever gives up before the first block must not wait for it forever."""
    ahead = ReadAhead(counting(9), BlockPool(2), users=1, fail=lambda error: None, name="test")
    closing = threading.Thread(target=ahead.close, daemon=True)
    closing.start()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
