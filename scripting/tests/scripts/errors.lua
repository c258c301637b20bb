error('x')
error('x', 0)
error('x', 2)
error({err = 'A b'})
error({err = 'A b', x = 1})
error({err = 'A b', source = 'q', line = 5})
error()
error(nil)
error(true)
error(12)
local a = nil + 1
local a = {} + 1
local a = {} .. 'x'
local a = nil a.b = 1
local a = nil return a.b
return nil()
local t = {} t[nil] = 1
local t = {} t[0/0] = 1
return 1 < 'x'
return {} < {}
return #nil
return ('x'):nosuch()
return string.rep()
return string.rep('x', {})
return ('x'):rep(-1)
return tonumber('z', 99)
return setmetatable(1, {})
return ipairs()
return pairs(nil)
return next({}, 'x')
return select(-5)
return string.char(256)
return string.format('%d', 'x')
return string.format('%y', 1)
return table.concat({1, {}, 3})
return unpack({}, 1, 1e8)
return string.find('a', '[')
return string.gsub('a', '(', 'x')
return coroutine.yield(1)
return coroutine.resume(1)
return coroutine.wrap(1)
coroutine.wrap(function() error('x') end)()
coroutine.wrap(function() redis.call('nosuch') end)()
coroutine.wrap(function() local a = nil + 1 end)()
return {coroutine.resume(coroutine.create(function() error('x') end))}
return {pcall(error)}
return {pcall(error, 'x')}
return {pcall(error, {err = 'x'})}
return {pcall(error, {err = 12})}
return {pcall(function() local a = nil + 1 end)}
return {pcall(function() return 1, 2, 3 end)}
return {pcall(nil)}
return {pcall(1)}
return {xpcall(function() error('a') end, function(e) return 'H' .. tostring(e) end)}
return {xpcall(function() error('a') end, function(e) error('b') end)}
return {xpcall(function() return 1, 2 end, function() end)}
return tostring(select(2, xpcall(function() redis.call('nosuch') end, function(e) return e.err end)))
local function f() return f() + 1 end f()
local function f() f() end return {pcall(f)}
local function f(n) if n == 0 then return 1 end return f(n - 1) end return f(100000)
return (
return 1 1
x =
for
local a = 'unfinished
--[[ unfinished
return 1 -- fine
goto x
return '\300'
return 0x
error('line one')
local x = 1 local y = 2 error('still line one')
if true then error('x') end
return assert(false)
return assert(false, 'message')
return assert(nil, {err = 'A b'})
return assert(1, 2)
return redis.call('set', KEYS[1])
local function f() redis.call('nosuch') end f()
local function f() return redis.call('nosuch') end return f()
local ok, e = pcall(redis.call, 'nosuch') return e
local ok, e = pcall(function() redis.call('nosuch') end) return e
local e = redis.pcall('nosuch') error(e)
local e = redis.pcall('nosuch') error(e.err)
local e = redis.pcall('nosuch') return e
return __redis__err__handler('x')
return __redis__err__handler('x').source
return __redis__err__handler({err = 'x', a = 1}).a
return table.foreach({1, 2}, function(k, v) return v end)
return table.setn({}, 1)
return math.floor()
return math.floor('x')
return math.random(0)
return math.random(2, 1)
return math.random(1, 2, 3)
return math.random('x')
return math.randomseed()
return math.randomseed({})
