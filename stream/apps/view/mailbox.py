"""What waits for one viewer: the newest of each kind, so that a slow one gets less and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from stream.apps.view.feed import Item

MOST = 256
"""Items that wait at most; beyond that the oldest goes. States are few: only events can grow so many."""


class Mailbox:
    """Items for one viewer, in the order they came; one that is replaced moves to the end. One event loop's own.

    Attributes:
        skipped: Items that were replaced or dropped before they could be sent.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.skipped = 0
        self._items: dict[tuple[str, ...], Item] = {}
        self._ready = asyncio.Event()
        for item in items:
            self.put(item)

    def put(self, item: Item) -> None:
        """Leave an item; never waits."""
        if self._items.pop(item.key, None) is not None:
            self.skipped += 1
        elif len(self._items) >= MOST:
            self._items.pop(next(iter(self._items)))
            self.skipped += 1
        self._items[item.key] = item
        self._ready.set()

    async def take(self) -> Item:
        """The item that has waited longest."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        return self._items.pop(next(iter(self._items)))


class Hub:
    """All viewers, and what a new one is told first."""

    def __init__(self) -> None:
        self._boxes: set[Mailbox] = set()
        self._lasting: dict[tuple[str, ...], Item] = {}

    def take(self, item: Item) -> None:
        """Hand an item to every viewer; never waits."""
        if item.lasting:
            self._lasting[item.key] = item
        for box in self._boxes:
            box.put(item)

    def join(self, first: Item) -> Mailbox:
        """A mailbox for a new viewer, with `first` and then what lasts in it."""
        box = Mailbox([first, *self._lasting.values()])
        self._boxes.add(box)
        return box

    def leave(self, box: Mailbox) -> None:
        """A viewer is gone."""
        self._boxes.discard(box)
