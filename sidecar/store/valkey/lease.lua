-- One question of a pod for permits: the ledger of store/ledger.py, in the same words and the same order.
-- permits.py puts constants and `now`, Unix seconds, in front of it. KEYS: the limit, and each of its quotas.
local me = ARGV[1]
local a = {}
for i = 2, #ARGV do a[i] = tonumber(ARGV[i]) end
local serial, rate_all, burst_all, use, need = a[2], a[3], a[4], a[5], a[6]
local wanted_permits, least, in_hand, held, back = a[7], a[8], a[9], a[10], a[11]
local spent, span, fair, fair_burst, away, kept_ms = a[12], a[13], a[14], a[15], a[16], a[17]
local FIRST_QUOTA = 18
local function number(value) return string.format('%.9f', value) end

-- What is known.
local level, filled_at, asked_at, careful_until, last_serial = burst_all, now, 0, now + CAREFUL, 0
local pods, closed, gone, parts = {}, {}, {}, {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local field, value = flat[i], flat[i + 1]
  local kind, name = string.sub(field, 1, 1), string.sub(field, 2)
  if kind == 'p' then
    local n = {}
    for part in string.gmatch(value, '%S+') do n[#n + 1] = tonumber(part) end
    local pod = {serial = n[1], use = n[2], until_ = n[3], others = {}}
    for j = 4, #n, 3 do
      local claim = {rate = n[j], burst = n[j + 1], ends_at = n[j + 2]}
      if j > 4 then pod.others[#pod.others + 1] = claim elseif claim.ends_at > 0 then pod.block = claim end
    end
    pods[name] = pod
  elseif kind == 'c' then
    if tonumber(value) > now then closed[name] = tonumber(value) else gone[#gone + 1] = field end
  elseif kind == 's' then
    local n = {}
    for part in string.gmatch(value, '%S+') do n[#n + 1] = tonumber(part) end
    level, filled_at, asked_at, careful_until, last_serial = n[1], n[2], n[3], n[4], n[5]
  end
end
if away >= AWAY_MIN and now - asked_at >= away then careful_until = math.max(careful_until, now + HEALED) end
asked_at = now

-- Let time pass.
local function each_claim(visit)
  for _, pod in pairs(pods) do
    if pod.block then visit(pod.block) end
    for _, claim in ipairs(pod.others) do visit(claim) end
  end
end
local function forget(until_)
  for _, pod in pairs(pods) do
    local live = {}
    for _, claim in ipairs(pod.others) do if claim.ends_at > until_ then live[#live + 1] = claim end end
    pod.others = live
    if pod.block and pod.block.ends_at <= until_ then pod.block = nil end
  end
end
forget(filled_at)  -- What ended before is still written where its pod has something else.
local claims, rate_sum, burst_sum = {}, 0, 0
each_claim(function(claim)
  claims[#claims + 1] = claim
  rate_sum, burst_sum = rate_sum + claim.rate, burst_sum + claim.burst
end)
table.sort(claims, function(one, other) return one.ends_at < other.ends_at end)
local function fill(at)
  local inflow = math.max(0, rate_all - rate_sum) * math.max(0, at - filled_at)
  level = math.max(0, math.min(burst_all - burst_sum, level + inflow))
  filled_at = math.max(filled_at, at)
end
for _, claim in ipairs(claims) do
  if claim.ends_at > now then break end
  fill(claim.ends_at)
  rate_sum, burst_sum = rate_sum - claim.rate, burst_sum - claim.burst
end
fill(now)
forget(now)
for name, pod in pairs(pods) do
  if not pod.block and #pod.others == 0 and pod.until_ <= now then
    pods[name] = nil
    if name ~= me then gone[#gone + 1] = 'p' .. name end
  end
end

-- The pod's own.
local old, ghosts, entry = pods[me], {}, pods[me]
pods[me] = nil
if old and old.serial ~= serial then
  ghosts = old.others
  if old.block then ghosts[#ghosts + 1] = old.block end
  old = nil
end
local claimed_rate, claimed_burst, count, others_wait = 0, 0, 1, false
each_claim(function(claim) claimed_rate, claimed_burst = claimed_rate + claim.rate, claimed_burst + claim.burst end)
for _, claim in ipairs(ghosts) do
  claimed_rate, claimed_burst = claimed_rate + claim.rate, claimed_burst + claim.burst
end
for _, pod in pairs(pods) do
  count = count + 1
  if not pod.block and #pod.others == 0 then others_wait = true end
end

-- Quotas: what comes back, and what is left.
local quotas, lefts = {}, {}
for i = FIRST_QUOTA, #a, 2 do
  local quota = {count = a[i], seconds = a[i + 1], key = KEYS[#quotas + 2], slices = {}, sum = 0}
  quota.size = quota.seconds / SLICES
  local oldest = math.floor(now / quota.size) - SLICES
  local stored = redis.call('HGETALL', quota.key)
  for j = 1, #stored, 2 do
    local index = tonumber(stored[j])
    if index < oldest then redis.call('HDEL', quota.key, stored[j]) else quota.slices[index] = tonumber(stored[j + 1]) end
  end
  local function change(index, by)
    quota.slices[index] = math.max(0, (quota.slices[index] or 0) + by)
    redis.call('HSET', quota.key, string.format('%.0f', index), number(quota.slices[index]))
  end
  quota.change = change
  if old then change(math.floor(old.until_ / quota.size), -held - back) end
  if spent > 0 then change(math.floor(now / quota.size), spent) end
  for _, taken in pairs(quota.slices) do quota.sum = quota.sum + taken end
  quotas[#quotas + 1] = quota
  lefts[#lefts + 1] = math.max(0, quota.count - quota.sum)
end

local function keep()
  redis.call('HSET', KEYS[1], 's', table.concat({number(level), number(filled_at), number(asked_at),
    number(careful_until), string.format('%.0f', last_serial)}, ' '))
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
  redis.call('PEXPIRE', KEYS[1], kept_ms)
  for _, quota in ipairs(quotas) do
    redis.call('PEXPIRE', quota.key, math.ceil((quota.seconds * (1 + 2 / SLICES) + span) * 1000))
  end
end

if use < 0 then
  -- One that has another block than it says keeps it until its end.
  if old then
    level = math.max(0, math.min(burst_all - claimed_burst, level + math.max(0, in_hand)))
    gone[#gone + 1] = 'p' .. me
  elseif entry then
    count = count + 1
  end
  keep()
  local answer = {'0', '0', '0', '0', '0', '0', '0', '0', 0, count - 1, '0', #lefts}
  for _, left in ipairs(lefts) do answer[#answer + 1] = number(left) end
  return answer
end
last_serial = last_serial + 1

-- The fair pace.
local function want(of) return math.max(of * HEADROOM, 1 / span) end
local mine, uses = want(use), use
local wants, total = {mine}, mine
for _, pod in pairs(pods) do
  wants[#wants + 1] = want(pod.use)
  total, uses = total + want(pod.use), uses + pod.use
end
local is_full, share = total > rate_all, 0
if is_full then
  table.sort(wants)
  local left = rate_all
  for i, other in ipairs(wants) do
    share = left / (#wants - i + 1)
    if other > share then break end
    left = left - other
  end
  share = math.min(mine, share)
else
  share = mine + math.min((rate_all - total) / 2, math.max(fair - mine, mine * EXTRA))
end
local places = math.floor(burst_all)
if is_full and #wants > places then share = math.max(share, rate_all / places) end  -- They take turns.
if now < careful_until then share = math.min(share, fair) end

-- What of it is free.
local burst = math.min(need, math.max(1, (burst_all - 1) / count))
if now < careful_until then burst = math.min(burst, math.max(1, fair_burst)) end
local free = burst_all - claimed_burst
burst = math.min(math.max(1, burst), free)
local rate = math.min(share, rate_all - claimed_rate)
if burst < 1 - SLACK or rate <= SLACK then rate, burst = 0, 0
elseif old and old.block and count > burst_all and others_wait and free - burst < 1 - SLACK then rate, burst = 0, 0 end

-- The block.
if count > places then span = math.min(span, TURN) end
if is_full then span = math.min(span, math.max(SPAN_MIN, CALLS_A_BLOCK / share)) end
local block = nil
if rate > 0 then block = {rate = rate, burst = burst, ends_at = now + span} end
local before = old and old.block
if before and not block then block = before
elseif before and (before.rate > rate + SLACK or before.burst > burst + SLACK) then
  ghosts = {{rate = math.max(0, before.rate - rate), burst = math.max(0, before.burst - burst),
    ends_at = before.ends_at}}
end
local added = 0
if rate > 0 and away == 0 and (now >= careful_until or serial == 0) then added = math.max(0, math.min(level, burst - in_hand)) end
if not old then held = 0 end
local leased, again_at = 0, now
if #quotas > 0 then
  local left = math.huge
  for _, one in ipairs(lefts) do left = math.min(left, one) end
  local permits = math.min(wanted_permits, math.max(least, left / (2 * count)))
  permits = math.floor(math.min(permits, left) + SLACK)
  if permits < least then permits = 0 end
  leased = math.max(held, permits)
  for i, quota in ipairs(quotas) do
    local missing, indices = least - (quota.count - quota.sum), {}
    for index in pairs(quota.slices) do indices[#indices + 1] = index end
    table.sort(indices)
    for _, index in ipairs(indices) do
      if missing <= SLACK then break end
      missing = missing - quota.slices[index]
      again_at = math.max(again_at, (index + SLICES + 1) * quota.size)
    end
    if leased > 0 then quota.change(math.floor((now + span) / quota.size), leased) end
    lefts[i] = math.max(0, lefts[i] - leased)
  end
end
local again = span - math.min(span * AHEAD, AHEAD_MAX)
if rate < share * 0.9 then
  local next_end = math.huge
  each_claim(function(claim) next_end = math.min(next_end, claim.ends_at) end)
  if next_end < math.huge then again = math.min(again, math.max(AGAIN_MIN, next_end - now)) end
end
if #quotas > 0 and leased < least then again = math.max(AGAIN_MIN, again_at - now) end

-- Write it down.
pods[me] = {serial = last_serial, use = use, until_ = now + span, block = block, others = ghosts}
level = level - added
burst_sum = 0
each_claim(function(claim) burst_sum = burst_sum + claim.burst end)
level = math.max(0, math.min(level, burst_all - burst_sum))
local words = {string.format('%.0f', last_serial), number(use), number(now + span)}
local function write(claim)
  words[#words + 1], words[#words + 2], words[#words + 3] = number(claim.rate), number(claim.burst), number(claim.ends_at)
end
write(block or {rate = 0, burst = 0, ends_at = 0})
for _, claim in ipairs(ghosts) do write(claim) end
redis.call('HSET', KEYS[1], 'p' .. me, table.concat(words, ' '))
keep()
local answer = {string.format('%.0f', last_serial), number(rate), number(burst), number(added), number(leased),
  number(span), number(again), number(share), is_full and 1 or 0, count, number(math.min(1, uses / rate_all)), #lefts}
for _, left in ipairs(lefts) do answer[#answer + 1] = number(left) end
for part, until_ in pairs(closed) do
  answer[#answer + 1] = part
  answer[#answer + 1] = number(until_ - now)
end
return answer
