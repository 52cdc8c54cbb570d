"""What an audit will cost, before anything is begun: measured on a few batches, carried over to all of them."""

from equipoise.cost.estimate import Cost, Expense, estimate_cost

__all__ = ["estimate_cost", "Cost", "Expense"]
