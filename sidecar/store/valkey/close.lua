-- The vendor closed a part of its API: whoever asks for permits is told. ARGV: the part, and for how many seconds.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local flat, known, count = redis.call('HGETALL', KEYS[1]), {}, 0
for i = 1, #flat, 2 do
  if string.sub(flat[i], 1, 1) == 'c' then
    if tonumber(flat[i + 1]) > now then
      known[flat[i]] = tonumber(flat[i + 1])
      count = count + 1
    else
      redis.call('HDEL', KEYS[1], flat[i])
    end
  end
end
local field = 'c' .. ARGV[1]
if not known[field] and count >= CLOSED_MAX then field = 'c' end
redis.call('HSET', KEYS[1], field, string.format('%.6f', math.max(known[field] or 0, now + tonumber(ARGV[2]))))
return 1
