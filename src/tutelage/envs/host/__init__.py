"""Environments that run in Python on the host, in processes of their own, behind the interface of a VectorEnv.

What runs in the processes does not import jax: `spaces`, `world`, `pettingzoo`, `gymnasium`, `worker`.
"""
