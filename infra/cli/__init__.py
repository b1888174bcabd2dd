"""How is Heard used from the command line? The console script `heard`."""

from consumers.resting import no_search_for_cycles

with no_search_for_cycles():  # classes by the thousand: all of them stay, and hardly any cycle comes of them
    from infra.cli.app import main

__all__ = ["main"]
