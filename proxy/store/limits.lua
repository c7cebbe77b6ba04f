-- Takes from the limits of one key, all or none: what limits.go does in memory.
--
-- KEYS[1]  a hash with what the key owes to each limit
-- ARGV     least and most to grant; the cost that retry is about; the time in
--          µs, empty for Redis's own, which all instances share; then for each
--          limit: algorithm, requests, window in µs, burst
-- Answers  granted, retry in µs, then for each limit: left, µs until one more,
--          µs until everything is there again
local least, most, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[4])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local EPOCH = 1767225600000000 -- keeps a fraction of a µs in a double
local SLICES = 16
local SLACK = 0.05 -- µs that a double may be off

local all = redis.call('HGETALL', KEYS[1])
local owed = {}
for i = 1, #all, 2 do owed[all[i]] = tonumber(all[i + 1]) end
local function field(i, j) return string.format('%d:%.0f', i, j) end

local limits, granted = {}, most
for i = 1, (#ARGV - 4) / 4 do
  local a = 4 * i + 1
  local l = { kind = ARGV[a], requests = tonumber(ARGV[a + 1]), window = tonumber(ARGV[a + 2]), burst = tonumber(ARGV[a + 3]) }
  if l.kind == 'gcra' then
    l.every = l.window / l.requests
    l.debt = math.max(0, (owed[i .. ':due'] or 0) - (now - EPOCH))
  elseif l.kind == 'fixed_window' then
    l.at = math.floor(now / l.window)
    l.used = owed[field(i, l.at)] or 0
  else
    l.span = math.ceil(l.window / SLICES)
    l.at = math.floor(now / l.span)
    l.used = 0
    for j = l.at - SLICES, l.at do l.used = l.used + (owed[field(i, j)] or 0) end
  end
  function l.room()
    if l.kind == 'gcra' then return math.max(0, math.floor(((l.burst * l.every) - l.debt + SLACK) / l.every)) end
    return math.max(0, l.requests - l.used)
  end
  granted = math.min(granted, l.room())
  limits[i] = l
end
if granted < least then granted = 0 end

local keep = 0
if granted > 0 then
  local set, gone, was = {}, {}, {}
  for i, l in ipairs(limits) do
    if l.kind == 'gcra' then
      l.debt = l.debt + granted * l.every
      set[#set + 1] = i .. ':due'
      set[#set + 1] = string.format('%.17g', now - EPOCH + l.debt)
      was[i .. ':due'] = true
      keep = math.max(keep, l.debt)
    else
      l.used = l.used + granted
      local f = field(i, l.at)
      owed[f] = (owed[f] or 0) + granted
      set[#set + 1] = f
      set[#set + 1] = string.format('%.0f', owed[f])
      if l.kind == 'fixed_window' then
        was[f] = true
        keep = math.max(keep, (l.at + 1) * l.window - now)
      else
        for j = l.at - SLICES, l.at do was[field(i, j)] = true end
        keep = math.max(keep, (l.at + SLICES + 1) * l.span - now)
      end
    end
  end
  for f in pairs(owed) do if not was[f] then gone[#gone + 1] = f end end
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
  redis.call('HSET', KEYS[1], unpack(set))
  if ARGV[4] == '' then redis.call('PEXPIRE', KEYS[1], math.ceil(keep / 1000) + 1) end
end

local function wait(i, l, n)
  if l.kind == 'gcra' then return math.max(0, math.ceil(l.debt + n * l.every - l.burst * l.every - SLACK)) end
  if l.used + n <= l.requests then return 0 end
  if l.kind == 'fixed_window' then return (l.at + 1) * l.window - now end
  local left = l.used
  for j = l.at - SLICES, l.at do
    left = left - (owed[field(i, j)] or 0)
    if left + n <= l.requests then return (j + SLICES + 1) * l.span - now end
  end
  return 0
end
local function full(i, l)
  if l.kind == 'gcra' then return math.ceil(l.debt) end
  if l.used == 0 then return 0 end
  if l.kind == 'fixed_window' then return (l.at + 1) * l.window - now end
  for j = l.at, l.at - SLICES, -1 do
    if (owed[field(i, j)] or 0) > 0 then return (j + SLICES + 1) * l.span - now end
  end
  return 0
end

local answer, retry = { granted, 0 }, 0
for i, l in ipairs(limits) do
  retry = math.max(retry, wait(i, l, cost))
  answer[#answer + 1] = l.room()
  answer[#answer + 1] = wait(i, l, 1)
  answer[#answer + 1] = full(i, l)
end
answer[2] = retry
return answer
