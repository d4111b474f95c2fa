"""Changes of the catalogue take turns on both databases."""

from __future__ import annotations

import threading

from lodestream.store.db import Database


def test_a_second_change_begins_after_the_first_has_ended(db: Database) -> None:
    order: list[str] = []
    first_is_in, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with db.write():
            first_is_in.set()
            go_on.wait(30)
            order.append("first")

    def second() -> None:
        with db.write():
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert first_is_in.wait(30)
    threads[1].start()
    threads[1].join(0.3)
    assert order == []
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "second"]
