return {1 + 1, 7 % 3, -7 % 3, 2 ^ 10, 7 / 2, 1 .. 2}
return {tostring(1e15), tostring(1e14), tostring(0.1), tostring(1/3), tostring(-0.0), tostring(1/0), tostring(100), tostring(2^53)}
return {tonumber('10'), tonumber('0x10'), tonumber('10', 2), tonumber('  5  '), tonumber('5x') == nil, tonumber('z', 36)}
return {string.format('%5.2f|%d|%s|%q|%x|%g|%c|%5s|%-5s|', 3.14159, 42, 'hi', 'a"b\n', 255, 1e20, 65, 'x', 'y')}
return {('hello'):upper(), ('Hello'):lower(), ('hello'):sub(2, 3), ('hello'):reverse(), ('hello'):len(), ('hello'):byte(1, -1)}
return {string.find('hello world', 'o w'), string.find('hello', 'l+'), string.match('key=val', '(%w+)=(%w+)')}
return {string.gsub('hello world', 'o', '0'), string.gsub('abc', '%w', '%0%0'), string.gsub('abc', '', '-')}
local r = {} for w in string.gmatch('one two three', '%a+') do r[#r + 1] = w end return r
local r = {} for w in string.gfind('one two three', '%a+') do r[#r + 1] = w end return r
local t = {5, 3, 1, 4} table.sort(t) return t
local t = {5, 3, 1, 4} table.sort(t, function(a, b) return a > b end) return t
local t = {1, 2, 3} table.insert(t, 4) table.insert(t, 1, 0) table.remove(t, 2) return t
return {table.concat({1, 2, 3}, ','), table.maxn({1, 2, nil, 4}), table.getn({1, 2})}
return {unpack({1, 2, 3}, 2)}
return {select('#', 1, nil, 3), select(2, 'a', 'b', 'c')}
return {math.floor(3.7), math.ceil(3.2), math.max(1, 5, 3), math.min(4, 2), math.abs(-3), math.fmod(7, 3), math.huge}
return {tostring(math.sqrt(2)), tostring(math.pi), tostring(math.exp(1)), tostring(math.log(10)), tostring(math.log10(100))}
return {math.frexp(8), math.ldexp(1, 3), math.modf(3.7), math.mod(7, 3), math.pow(2, 3)}
math.randomseed(1) return {tostring(math.random()), tostring(math.random()), math.random(100), math.random(10, 20)}
math.randomseed(-5) return {tostring(math.random()), math.random(1000000), math.random(-5, 5)}
math.randomseed(1e10) return {tostring(math.random()), math.random(1000000)}
math.randomseed('7') return {tostring(math.random()), math.random(2147483647)}
math.randomseed(0) local t = {} for i = 1, 50 do t[i] = math.random(1000) end return t
local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) return b * 2 end) return {select(2, coroutine.resume(co, 1)), select(2, coroutine.resume(co, 10)), coroutine.status(co)}
local f = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) return {f(), f(), f()}
return coroutine.running() == nil
local f = coroutine.wrap(function() return redis.call('ping') end) return f()
local f = coroutine.wrap(function() coroutine.yield(redis.call('ping')) end) return f()
local f = loadstring('return 1 + 1') return f()
local f, e = loadstring('return (') return e
local f, e = loadstring('return (', '@name') return e
local f, e = loadstring('return (', '=name') return e
local n = 0 local f = load(function() n = n + 1 if n == 1 then return 'return ' elseif n == 2 then return '5' end end) return f()
local f, e = load(function() return 5 < 6 end) return e
local f, e = load(function() error('x') end) return e
local f, e = load(function() return nil end) return type(f)
return load('return 1')
return load()
return {loadstring(string.dump(function() return 1 end))}
local f, e = loadstring(string.dump(function() return 1 end)) return e
local f, e = load(function() return '\27Lua' end) return type(f)
local t = setmetatable({}, {__index = function(t, k) return k .. '!' end, __call = function(_, x) return x end}) return {t.a, t(5)}
local t = setmetatable({}, {__add = function() return 'sum' end, __eq = function() return true end, __tostring = function() return 'text' end}) return {t + 1, tostring(t)}
local t = setmetatable({}, {__metatable = 'locked'}) return getmetatable(t)
local t = setmetatable({}, {__metatable = 'locked'}) return setmetatable(t, {})
return {rawequal('a', 'a'), rawget({5}, 1), rawset({}, 1, 2)[1]}
return {type(nil), type(1), type('x'), type({}), type(print == nil), type(redis.call), type(cjson.null), type(coroutine.create(function() end))}
local r = {} for k, v in pairs({10, 20, 30}) do r[#r + 1] = k .. '=' .. v end return r
local r = {} for k, v in ipairs({10, 20, nil, 30}) do r[#r + 1] = k .. '=' .. v end return r
local r = {} for k, v in next, {10, 20} do r[#r + 1] = k .. '=' .. v end return r
local r = {} table.foreach({1, 2}, function(k, v) r[#r + 1] = k * v end) return r
local r = {} table.foreachi({1, 2}, function(k, v) r[#r + 1] = k * v end) return r
local a, b, c = (function(...) return ... end)(1, 2, 3) return {c, b, a}
local function f(...) return select('#', ...) end return f(nil, nil)
local function f(...) return arg == nil end return f()
local i = 0 repeat i = i + 1 until i == 5 return i
local i = 0 while true do i = i + 1 if i > 7 then break end end return i
for i = 10, 1, -3 do if i == 4 then return i end end
return [[long
return [==[a]]b]==]
return #'abc' + #{1, 2}
return not nil == true and 'yes' or 'no'
return _VERSION
return type(collectgarbage('count'))
return {collectgarbage(), type(gcinfo())}
return collectgarbage('nosuch')
return string.rep('ab', 3)
return #string.rep('x', 1000000)
return {('x'):rep(0), (''):rep(5)}
return {tostring(nil), tostring(true), tostring('x')}
return {xpcall(pcall, pcall)}
local t = {} for i = 1, 100 do t[i] = i end local s = 0 for i = 1, #t do s = s + t[i] end return s
return {string.byte('abc', 2), string.char(65, 66), string.len('a\0b')}
return ('%d items'):format(5)
return ('x'):byte(10) == nil
local s = 0 for i = 1, 100000 do s = s + i end return s
