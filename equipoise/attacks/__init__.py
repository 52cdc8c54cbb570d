"""Attacks, one a file: settings in the constructor, images at the call, everything in the result per image."""

from equipoise.attacks.apgd import APGD
from equipoise.attacks.attack import Attack, AttackResult, Search
from equipoise.attacks.minimum_norm import MinimumNorm
from equipoise.attacks.pgd import PGD

__all__ = ["PGD", "APGD", "MinimumNorm", "Attack", "AttackResult", "Search"]
