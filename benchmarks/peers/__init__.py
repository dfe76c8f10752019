"""Knows what else could be used in this store's place, each as its own users run it; must not know how ours does.

A peer that is not installed is left out of the figures.
"""
