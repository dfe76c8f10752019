"""Knows the one way in which a request about an account, a key or a setting can be wrong; must not know of which."""


class Mistaken(Exception):
    """The request about an account, a key or a setting makes no sense; the text says why."""
