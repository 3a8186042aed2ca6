"""Conversations over two replicas, with and without prefix affinity: what do the caches gain, and is load even?"""
