"""While the service runs: fit profiles, put them into force, and test again what they promise."""
