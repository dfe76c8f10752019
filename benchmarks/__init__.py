"""How fast it is, against a limit measured in the same run: `python -m benchmarks.append`, `.poll`, `.growth`."""
