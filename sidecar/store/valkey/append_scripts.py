"""The scripts by which entries are appended; what they share with the others stands in backlog_scripts.py."""

from sidecar.store.valkey.backlog_scripts import script

_ADD = """
local function known(id, other)
  if redis.call('EXISTS', entry(id)) == 1 or redis.call('HEXISTS', also, id) == 1 then return true end
  if other == '' then return false end
  local f = redis.call('HMGET', entry(other), 'seq', 'also')
  if not f[1] or f[2] then return false end
  redis.call('HSET', entry(other), 'also', id)
  redis.call('HINCRBY', also, id, 1)
  return true
end
local function add(n, seq)
  local id, key = ARGV[n], ARGV[n + 1]
  local e = {seq = whole(seq), key = key, state = 'waiting'}
  local wanted = whole(now + ARGV[n + 4])
  redis.call('HSET', entry(id), 'seq', e.seq, 'key', key, 'state', 'waiting', 'head', ARGV[n + 2],
    'created', whole(now), 'wanted', wanted)
  if ARGV[n + 3] ~= '' then redis.call('HSET', entry(id), 'body', ARGV[n + 3]) end
  if ARGV[n + 5] ~= '' then
    redis.call('HSET', entry(id), 'also', ARGV[n + 5])
    redis.call('HINCRBY', also, ARGV[n + 5], 1)
  end
  redis.call('ZADD', in_state('waiting'), e.seq, id)
  if key ~= '' then redis.call('ZADD', of_key(key), e.seq, id) end
  if key == '' or redis.call('ZCARD', of_key(key)) == 1 then redis.call('ZADD', due, wanted, place(e, id)) end
end
local before = redis.call('HMGET', tally, 'n:waiting', 'n:running', 'b:waiting', 'b:running', 'seq')
local length, bytes = (before[1] or 0) + (before[2] or 0), (before[3] or 0) + (before[4] or 0)
"""

# ARGV: length_max, bytes_max, and of each entry id, key, head, body, delay, also. Each by itself: 0 when it was
# appended, 1 when it was there, else the length and the bytes that are too much.
APPEND_EACH = script(
    _ADD
    + """
local answers, seq, added, size = {}, tonumber(before[5] or 0), 0, 0
for n = 3, #ARGV, 6 do
  local its = #ARGV[n + 2] + #ARGV[n + 3]
  if known(ARGV[n], ARGV[n + 5]) then
    answers[#answers + 1] = 1
  elseif length + added + 1 > tonumber(ARGV[1]) or bytes + size + its > tonumber(ARGV[2]) then
    answers[#answers + 1] = {length + added + 1, bytes + size + its}
  else
    seq, added, size = seq + 1, added + 1, size + its
    add(n, seq)
    answers[#answers + 1] = 0
  end
end
if added > 0 then
  redis.call('HSET', tally, 'seq', whole(seq))
  count('waiting', added, size)
end
return answers
"""
)

# ARGV: the same. All of them, or none.
APPEND = script(
    _ADD
    + """
local there, new, size = {}, {}, 0
for n = 3, #ARGV, 6 do
  if known(ARGV[n], ARGV[n + 5]) then
    there[#there + 1] = ARGV[n]
  else
    new[#new + 1] = n
    size = size + #ARGV[n + 2] + #ARGV[n + 3]
  end
end
if #new == 0 then return there end
local length_after, size_after = length + #new, bytes + size
if length_after > tonumber(ARGV[1]) or size_after > tonumber(ARGV[2]) then
  return {length_after, size_after}
end
local seq = redis.call('HINCRBY', tally, 'seq', #new) - #new
for _, n in ipairs(new) do
  seq = seq + 1
  add(n, seq)
end
count('waiting', #new, size)
return there
"""
)
