-- The generic cell rate algorithm: one instant says when everything permitted so far will have been used up at the even rate.
-- KEYS[1] that instant; ARGV[1] calls wanted, ARGV[2] microseconds between calls, ARGV[3] calls that may go at once.
-- Answers 0 to go, else the microseconds after which to ask again. Times are Redis' own, in whole microseconds, so that
-- the clocks of workers do not matter.
local calls, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local used_up = tonumber(redis.call('GET', KEYS[1]) or now)
-- Never far ahead, unless the server's clock was set back, or the rate was raised: then start anew instead of waiting it out.
if used_up < now or used_up > now + 2000000 then
  used_up = now
end
local after = used_up + calls * interval
local wait = after - burst * interval - now
if wait > 0 then
  return wait
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return 0
