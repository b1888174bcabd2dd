"""How is the answer to `trace` shown to somebody who has never seen Heard?"""

from __future__ import annotations

from infra.picture.drawing import svg
from infra.picture.tree import terminal

__all__ = ["svg", "terminal"]
