"""The Vega scripts that the page inlines, so that it draws its charts without a network.

vl-convert carries them and bundles them afresh in every process, which takes more than a second; the bundle is
therefore kept in the user's cache folder, under a name with its version. Without such a folder it is simply made again.
"""

import contextlib
import os
from importlib.metadata import version
from pathlib import Path

from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically
from equipoise.streams import digest

__all__ = ["vega_scripts"]

SNIPPET = "window.vegaEmbed = vegaEmbed;"


def vega_scripts() -> str:
    """JavaScript that defines `vegaEmbed`, about 0.9 MB."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    kept = home / "equipoise" / f"vega-{version('vl-convert-python')}-{digest(SNIPPET, size=4)}.js"
    try:
        script = kept.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        script = ""
    if not script:
        # 85 MB to import and a second to run: only when the cache is empty.
        import vl_convert  # noqa: PLC0415

        script = vl_convert.javascript_bundle(SNIPPET)
        with contextlib.suppress(EquipoiseError):
            write_atomically(kept, lambda file: file.write_text(script, encoding="utf-8"))
    # The page may not hold these inside a script element; in JavaScript they mean the same with the backslash.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
