return x
x = 1
x = nil
function f() end
return _G.x
_G.x = 1
return type(_G)
return _G == _G._G
return rawget(_G, 'x')
return type(rawget(_G, 'redis'))
rawset(_G, 'x', 1)
redis.x = 1
redis.call = 1
string.x = 1
string.format = nil
math.x = 1
table.x = 1
cjson.x = 1
cjson.encode = 1
cmsgpack.x = 1
bit.x = 1
struct.x = 1
coroutine.x = 1
return redis.nosuch
return string.nosuch
return cjson.nosuch
rawset(redis, 'x', 1)
rawset(string, 'x', 1)
table.insert(redis, 1)
table.insert(string, 1)
table.remove(redis)
table.sort(redis)
setmetatable(_G, {})
setmetatable(redis, {})
setmetatable(redis, nil)
return getmetatable(redis)
return type(getmetatable(_G))
return type(getmetatable(_G).__index)
getmetatable(_G).__index = nil
getmetatable(_G).__index = function() return 1 end
return type(getmetatable(''))
return type(getmetatable('').__index)
getmetatable('').__index = nil
getmetatable('').__index.x = 1
KEYS = 1
KEYS.x = 1 return KEYS.x
ARGV = nil
pcall = 1
redis = nil
local r = {} for k, v in pairs(redis) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(string) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(math) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(table) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(cjson) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(cmsgpack) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(struct) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(bit) do r[#r + 1] = k end table.sort(r) return r
local r = {} for k, v in pairs(coroutine) do r[#r + 1] = k end table.sort(r) return r
local r = {} local k = next(redis) while k do r[#r + 1] = k k = next(redis, k) end table.sort(r) return r
local r = {} table.foreach(redis, function(k) r[#r + 1] = k end) table.sort(r) return r
for k, v in pairs(redis) do redis[k] = nil end
local f, t = pairs(redis) t.x = 1
local f, t = pairs(redis) rawset(t, 'x', 1)
return print
print('x')
return dofile
return loadfile
return require
return module
return package
return io
return debug
return getfenv
return setfenv
return newproxy
return print == nil
local ok, e = pcall(function() return x end) return e
local ok, e = pcall(function() x = 1 end) return e
local ok, e = pcall(function() redis.x = 1 end) return e
return {pcall(rawset, redis, 'x', 1)}
return loadstring('return x')()
loadstring('x = 1')()
coroutine.wrap(function() x = 1 end)()
return _G[{}]
return _G[1]
return _G[true]
return tostring(_G) == tostring(_G)
return #redis
return redis == redis
local s = string s.rep = nil
local function f() redis = 1 end f()
for i = 1, 2 do _G['x' .. i] = i end
