"""The page: a pure function of a run. Calling the room writes it: ``equipoise.report(run, "first.html")``, and
``equipoise.report.bundle(run, "first")`` writes it as a folder."""

import sys
from types import ModuleType

from equipoise.audit.difference import Difference, paired_difference
from equipoise.report.bundling import bundle
from equipoise.report.page import report

__all__ = ["report", "bundle", "Difference", "paired_difference"]


class _Callable(ModuleType):
    """The public face has both a room and a function called `report`; one object serves as both."""

    __call__ = staticmethod(report)


sys.modules[__name__].__class__ = _Callable
