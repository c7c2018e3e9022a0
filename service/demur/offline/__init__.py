"""`demur evaluate` and `demur calibrate`: ask or replay, judge, report."""
