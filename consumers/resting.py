"""What rests while much is made at once? Python's search for cycles among objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """Put the search off until the end. Serves as a decorator as well.

    A batch of messages, or the program's classes when it starts, are many objects at once and hardly any
    cycles: to search them again and again took a fifth of a rebuild, and more of the loops. What makes
    cycles after all is found afterwards.
    """
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()
