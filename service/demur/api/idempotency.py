"""`Idempotency-Key`."""

MAX_KEY_CHARS = 255
