"""Which read models are there? Every module of this package that has a VIEW."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

import projections
from projections.view import View


def _found() -> Mapping[str, View]:
    modules = (
        import_module(f"projections.{m.name}")
        for m in iter_modules(projections.__path__)
        if m.name != "catalogue"
    )
    views = (getattr(module, "VIEW", None) for module in modules)
    return {view.name: view for view in sorted((v for v in views if v is not None), key=lambda v: v.name)}


VIEWS: Final = _found()
"""By name."""
