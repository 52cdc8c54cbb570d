"""The audit: plan, shards, store, executors, statistics. Calling the room audits: ``equipoise.audit(...)``."""

import sys
from types import ModuleType

from equipoise.audit.auditing import audit
from equipoise.audit.checking import check
from equipoise.audit.claims import Claim, judge, write_claims
from equipoise.audit.exhibits import write_exhibits
from equipoise.audit.intervals import Estimate
from equipoise.audit.run import Run
from equipoise.audit.soundness import Soundness
from equipoise.audit.statistics import Curve, Statistic, robustness_curve
from equipoise.audit.telling import log_run
from equipoise.audit.verifying import Verified, verify

__all__ = [
    "audit",
    "check",
    "Run",
    "Verified",
    "verify",
    "Soundness",
    "Statistic",
    "Estimate",
    "Curve",
    "robustness_curve",
    "Claim",
    "judge",
    "write_claims",
    "write_exhibits",
    "log_run",
]


class _Callable(ModuleType):
    """The public face has both a room and a function called `audit`; one object serves as both."""

    __call__ = staticmethod(audit)


sys.modules[__name__].__class__ = _Callable
