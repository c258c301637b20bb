return cmsgpack.pack(0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296)
return cmsgpack.pack(-1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649)
return cmsgpack.pack(2^53, -2^53, 2^62, 2^63, -2^63, 2^64, 1e300)
return cmsgpack.pack(0.5, 0.1, -1.5, 1/0, -1/0)
return cmsgpack.pack('', 'a', string.rep('x', 31), string.rep('x', 32))
return cmsgpack.pack(string.rep('x', 255)) .. cmsgpack.pack(string.rep('x', 256))
return cmsgpack.pack(string.rep('x', 65535)) .. cmsgpack.pack(string.rep('x', 65536))
return cmsgpack.pack(true, false, nil)
return cmsgpack.pack(nil)
return cmsgpack.pack()
return cmsgpack.pack({})
return cmsgpack.pack({1, 2, 3})
return cmsgpack.pack({a = 1})
return cmsgpack.pack({[1] = 1, [3] = 3})
return cmsgpack.pack({[0] = 1})
return cmsgpack.pack({[1.5] = 1})
return cmsgpack.pack({[-1] = 1})
return cmsgpack.pack({1, {2, {3}}})
local t = {} for i = 1, 15 do t[i] = i end return cmsgpack.pack(t)
local t = {} for i = 1, 16 do t[i] = i end return cmsgpack.pack(t)
local t = {} for i = 1, 70000 do t[i] = 1 end return #cmsgpack.pack(t)
local t = {} for i = 1, 20 do t['k' .. i] = i end return #cmsgpack.pack(t)
local t = {} for i = 1, 20 do t = {t} end return cmsgpack.pack(t)
local t = {} t[1] = t return cmsgpack.pack(t)
return cmsgpack.pack(function() end)
return cmsgpack.pack(cjson.null)
local t = {} for i = 1, 4000 do t[i] = 'x' end return #cmsgpack.pack(unpack(t))
local t = {} for i = 1, 4001 do t[i] = 'x' end return #cmsgpack.pack(unpack(t))
return cmsgpack.unpack(cmsgpack.pack({1, 'a', true, {b = 2}}))
return {cmsgpack.unpack(cmsgpack.pack(1, 2, 3))}
return {cmsgpack.unpack('')}
return {cmsgpack.unpack('\192\1')}
return {cmsgpack.unpack('\204\255\205\255\255\206\255\255\255\255')}
return {cmsgpack.unpack('\207\0\0\0\1\0\0\0\0\211\255\255\255\255\255\255\255\255')}
return {cmsgpack.unpack('\208\128\209\128\0\210\128\0\0\0')}
return {tostring(cmsgpack.unpack('\202\63\128\0\0')), tostring(cmsgpack.unpack('\203\63\240\0\0\0\0\0\0'))}
return {cmsgpack.unpack('\217\3abc\218\0\3abc\219\0\0\0\3abc')}
return {cmsgpack.unpack('\220\0\1\5')}
return {cmsgpack.unpack('\221\0\0\0\1\5')}
return cmsgpack.unpack('\222\0\1\1\2')[1]
return cmsgpack.unpack('\223\0\0\0\1\1\2')[1]
return {cmsgpack.unpack('\193')}
return {cmsgpack.unpack('\196\0')}
return {cmsgpack.unpack('\205\1')}
return {cmsgpack.unpack('\217\5abc')}
return {cmsgpack.unpack('\219\255\255\255\255')}
return {cmsgpack.unpack('\221\255\255\255\255')}
return {cmsgpack.unpack('\223\255\255\255\255')}
return {cmsgpack.unpack('\129\192\1')}
return {cmsgpack.unpack()}
return {cmsgpack.unpack({})}
return {cmsgpack.unpack(5)}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3))}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 1)}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 2)}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 3)}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 4)}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), -1)}
return {cmsgpack.unpack_one('')}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 0)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 0, 0)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 0, 1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), -1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 5, 9)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3))}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 'x')}
return {cmsgpack._NAME, cmsgpack._VERSION, cmsgpack._COPYRIGHT, cmsgpack._DESCRIPTION}
local t = {} for i = 1, 100 do t[i] = '\145' end t[101] = '\1' local d = cmsgpack.unpack(table.concat(t)) for i = 1, 100 do d = d[1] end return d
