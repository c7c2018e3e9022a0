"""Offline: how good signals, probabilities and decisions are, on answers whose correctness is known."""
