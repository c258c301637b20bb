return {bit.band(255, 15), bit.bor(1, 2, 4), bit.bxor(7, 2), bit.bnot(0)}
return {bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-16, 2), bit.rol(0x12345678, 8), bit.ror(0x12345678, 8)}
return {bit.bswap(0x12345678), bit.tobit(0xffffffff), bit.tobit(2^31), bit.tobit(2^40 + 5), bit.tobit(-1.5), bit.tobit(2.5), bit.tobit(3.5)}
return {bit.tohex(255), bit.tohex(255, 4), bit.tohex(255, -4), bit.tohex(-1), bit.tohex(1, 0), bit.tohex(1, 100), bit.tohex(0xabcdef, -8)}
return {bit.lshift(1, 32), bit.lshift(1, 33), bit.rshift(1, 64), bit.rol(1, 32), bit.lshift('1', '4')}
return bit.band()
return bit.band('x')
return bit.band(1, {})
return bit.band(nil)
return bit.lshift(1)
return bit.tohex()
return bit.tohex(1, {})
return bit.bnot(true)
return bit.band(1)
return bit.bor(1, 2, 3, nil)
return {bit.tobit(0/0), bit.tobit(1/0), bit.tobit(1e300)}
local t = {} for i = 1, 7000 do t[i] = i end return bit.bor(unpack(t))
