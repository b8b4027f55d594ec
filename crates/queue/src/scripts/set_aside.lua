-- Moves an entry that nobody here can read out of the stream of hints into one of its own, with whatever it holds.
-- KEYS[1] stream, KEYS[2] where to; ARGV[1] group, ARGV[2] entry, ARGV[3] how many to keep there. Answers 1 if it was there.
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then
  return 0
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'entry', ARGV[2], unpack(found[1][2]))
-- Read by nobody yet, it is pending with nobody, or there is no group.
redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
