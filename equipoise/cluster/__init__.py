"""Much large work at once, on one machine or many: Ray, with a process for each worker that outlives what it is given.

The work is an object that Ray carries to every worker once, so that the networks in it stay loaded; the items, such as
parts of an audit, come one at a time to whoever is idle. Which worker does what changes no result. A worker that dies
is replaced and its item goes to another: work must be such that an item can be begun again.
"""

from equipoise.cluster.finding import Cluster, find_cluster

__all__ = ["Cluster", "find_cluster"]
