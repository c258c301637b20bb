return 1
return 3.99
return -3.99
return 1e20
return -1e20
return 0/0
return 1/0
return 2^63
return 2^53
return ''
return 'a\0b\r\n'
return true
return false
return nil
return
return {}
return {1, 2, nil, 4}
return {1, {2, {3, {}}}}
return {a = 1}
return {1, a = 1}
return {true, false, nil}
return {false, true, 'x'}
return {ok = 'fine'}
return {ok = 'two\r\nlines'}
return {ok = 'a\0b'}
return {ok = 1}
return {err = 'MY error'}
return {err = 'MY\r\nerror\r\n'}
return {err = 'noword'}
return {err = ''}
return {err = 1}
return {err = 'a b', ok = 'c'}
return {err = 'a b', ignore_error_stats_update = true}
return {double = 3.5}
return {double = 3}
return {double = -1/0}
return {double = '3.5'}
return {big_number = '123456789012345678901234567890'}
return {big_number = '12\r\n34'}
return {big_number = 12}
return {verbatim_string = {format = 'txt', string = 'hello'}}
return {verbatim_string = {format = 'txt'}}
return {verbatim_string = {string = 'x'}}
return {verbatim_string = 'x'}
return {map = {a = 1}}
return {map = {}}
return {map = {[1] = 2}}
return {map = {a = {map = {b = true}}}}
return {map = 1}
return {set = {a = true}}
return {set = {}}
return {set = {[5] = 1}}
return {1, {ok = 'a'}, {err = 'b c'}, {double = 0.5}, {map = {x = 'y'}}}
redis.setresp(3) return true
redis.setresp(3) return false
redis.setresp(3) return {true, false, nil, 1}
redis.setresp(3) return {map = {a = false}}
redis.setresp(3) return nil
return function() end
return coroutine.create(function() end)
return cjson.null
return {function() end, 1}
return setmetatable({1}, {__index = function() error('never') end})
return redis
return string
local t = {} for i = 1, 500 do t = {t} end return t
return {string.rep('x', 20000), 1}
return {0.5, -0.5, 1.5}
return 'é'
