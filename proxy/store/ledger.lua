-- Adds to a ledger and reads on in it.
--
-- KEYS[1]  a sorted set: each note with its number, and two members that are no
--          notes: B, when the ledger was begun, and F, below which notes may be
--          missing. Numbers are Redis's time in µs, and never repeat
-- ARGV     read from after this number; how many notes at most; how many are
--          kept; how long, in ms; then the notes to add
-- Answers  B, F, the last number, then notes and their numbers in order
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end

local begun = redis.call('ZSCORE', KEYS[1], 'B')
local floor = redis.call('ZSCORE', KEYS[1], 'F')
if not begun or not floor then
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], text(now), 'B', text(now), 'F')
  begun, floor = text(now), text(now)
end
local last = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])

for i = 5, #ARGV do
  last = math.max(last + 1, now)
  redis.call('ZADD', KEYS[1], text(last), ARGV[i])
end
local over = redis.call('ZCARD', KEYS[1]) - 2 - tonumber(ARGV[3])
if over > 0 then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, over + 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    if over > 0 and oldest[i] ~= 'B' and oldest[i] ~= 'F' then
      redis.call('ZREM', KEYS[1], oldest[i])
      floor = oldest[i + 1]
      over = over - 1
    end
  end
  redis.call('ZADD', KEYS[1], floor, 'F')
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) / 2 then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end

local out = { text(begun), text(floor), text(last) }
local notes = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[2]))
for i = 1, #notes, 2 do
  out[#out + 1] = notes[i]
  out[#out + 1] = text(notes[i + 1])
end
return out
