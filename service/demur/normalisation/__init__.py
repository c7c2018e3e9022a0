"""Which answers surely mean the same, and which surely do not, decided by rule before any model is asked."""
