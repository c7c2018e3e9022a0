"""Which answers surely mean the same, and which surely do not, decided by rule before any model is asked."""

VERSION = 1  # raise it when answers fall together differently: calibration profiles fitted before are void then
