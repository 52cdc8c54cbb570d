"""Looking closer at a run in a browser, and asking people what they see."""

from equipoise.errors import import_extra

# Before anything else of the room, which imports both at its top.
for needed in ("starlette", "uvicorn"):
    import_extra(needed, extra="view", feature="equipoise view")
