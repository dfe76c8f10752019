"""How jobs are asked for: HTTP, and nothing that knows SQL."""
