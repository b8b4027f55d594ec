-- Deletes a consumer from a group, but only if nothing is pending with it: XGROUP DELCONSUMER destroys what is.
-- KEYS[1] stream; ARGV[1] group, ARGV[2] consumer. Answers 1 if it is gone, 0 if it had to stay.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if pending.err then
  if string.find(pending.err, 'NOGROUP', 1, true) then
    return 1
  end
  return pending
end
if #pending > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
