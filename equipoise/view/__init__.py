"""Looking closer at a run in a browser, live while its audit runs, and asking people what they see."""

from equipoise.errors import import_extra

# Before anything else of the room, which imports both at its top.
for needed in ("starlette", "uvicorn"):
    import_extra(needed, extra="view", feature="equipoise view")

from equipoise.view.server import application  # noqa: E402
from equipoise.view.serving import serve  # noqa: E402

__all__ = ["application", "serve"]
