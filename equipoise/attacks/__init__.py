"""Attacks, one a file: settings in the constructor, images at the call, everything in the result per image."""

from equipoise.attacks.apgd import APGD
from equipoise.attacks.attack import Attack, AttackResult, Search
from equipoise.attacks.bpda import BPDA
from equipoise.attacks.fab import FAB
from equipoise.attacks.minimum_norm import MinimumNorm
from equipoise.attacks.pgd import PGD
from equipoise.attacks.square import Square
from equipoise.attacks.transfer import Transfer
from equipoise.attacks.worst_case import WorstCase

__all__ = [
    "WorstCase",
    "PGD",
    "APGD",
    "MinimumNorm",
    "FAB",
    "Square",
    "Transfer",
    "BPDA",
    "Attack",
    "AttackResult",
    "Search",
]
