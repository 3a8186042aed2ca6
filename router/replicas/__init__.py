"""The replicas of a model: pool, leases, load balancing, breakers, liveness."""
