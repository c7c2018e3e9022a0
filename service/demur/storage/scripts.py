"""What Redis must do in one step. Each script touches one cluster slot."""

from __future__ import annotations

# KEYS: answer, feedback hash. ARGV: field, value. 0 where there is no such answer.
ADD_FEEDBACK = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
"""

# KEYS: entry. ARGV: fingerprint, holder, milliseconds. Empty: the entry is new; else what is kept, and its time left.
BEGIN = """
local kept = redis.call('HMGET', KEYS[1], 'fingerprint', 'response')
if kept[1] then return {kept[1], kept[2] or '', kept[2] and 1 or 0, redis.call('PTTL', KEYS[1])} end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'holder', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {}
"""

# KEYS: entry. ARGV: holder, response, milliseconds.
FINISH = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'holder')
redis.call('HSET', KEYS[1], 'response', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

# KEYS: entry. ARGV: holder.
ABANDON = """
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""
