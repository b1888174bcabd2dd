"""How is Heard used from the command line? The console script `heard`."""

from infra.cli.app import main

__all__ = ["main"]
