"""How is Heard used from the command line? The console script `heard`."""

from consumers.resting import no_search_for_cycles

with no_search_for_cycles():  # there are none: classes by the thousand, and all of them stay
    from infra.cli.app import main

__all__ = ["main"]
