#!lua
return 1
----
#!lua flags=
return 1
----
#!lua flags=no-writes
return redis.call('get', KEYS[1])
----
#!lua flags=no-writes,allow-oom,allow-stale,no-cluster,allow-cross-slot-keys
error('x')
----
#!lua flags=no-writes flags=allow-oom
return 1
----
#!lua flags=bad
return 1
----
#!lua flags=no-writes,
return 1
----
#!lua flags=,
return 1
----
#!lua name=x
return 1
----
#!lua x
return 1
----
#!LUA
return 1
----
#!js
return 1
----
#!
return 1
----
#! lua
return 1
----
#!lua "x
return 1
----
#!lua
----
return 1
-- a comment
----

error('line two')
----
local a = 1

redis.call('nosuch')
----
redis.call(
  'nosuch',
  1)
----
local function f()
  error('deep')
end
f()
----
return [[
two lines]]
