return struct.pack('i', 1)
return struct.pack('>i<i', 1, 1)
return struct.pack('bBhHlLT', 1, 2, 3, 4, 5, 6, 7)
return struct.pack('i1i2i3i4i8i16', 1, 2, 3, 4, 5, 6)
return struct.pack('>i1i2i3i4i8i16', 1, 2, 3, 4, 5, 6)
return struct.pack('>I32', -1)
return struct.pack('fd', 1.5, -2.25)
return struct.pack('>fd', 1.5, -2.25)
return struct.pack('s', 'hello')
return struct.pack('c3', 'hello')
return struct.pack('c0', 'hello')
return struct.pack('bc0', 5, 'hello')
return struct.pack('c10', 'hello')
return struct.pack('xbx', 1)
return struct.pack('!8bi', 1, 2)
return struct.pack('!4bd', 1, 2)
return struct.pack('!bd', 1, 2)
return struct.pack('!3b', 1)
return struct.pack('i33', 1)
return struct.pack('i99999999999', 1)
return struct.pack('i0', 1)
return struct.pack('y', 1)
return struct.pack('i')
return struct.pack('ii', 1)
return struct.pack('i', 'x')
return struct.pack('i', '12')
return struct.pack('s')
return struct.pack('s', 12)
return struct.pack()
return struct.pack('')
return struct.pack('  i  ', 1)
return struct.pack('b', 300)
return struct.pack('b', -1)
return struct.pack('L', 2^63)
return struct.pack('L', 2^64)
return struct.pack('L', 1e300)
return struct.pack('l', -2^63)
return struct.pack('i', 3.99)
return struct.pack('i', -3.99)
return {struct.unpack('i', struct.pack('i', -5))}
return {struct.unpack('>I2<I2bB', '\1\2\3\4\255\255')}
return {struct.unpack('i1i2i3', struct.pack('i1i2i3', -1, -2, -3))}
return {struct.unpack('l', '\255\255\255\255\255\255\255\127')}
return {tostring(struct.unpack('f', struct.pack('f', 0.1))), tostring(struct.unpack('d', struct.pack('d', 0.1)))}
return {struct.unpack('s', 'abc\0def\0'), struct.unpack('ss', 'abc\0def\0')}
return {struct.unpack('c3', 'hello')}
return {struct.unpack('bc0', '\3hello')}
return {struct.unpack('c0', 'hello')}
return {struct.unpack('sc0', 'x\0hello')}
return {struct.unpack('bc0', '\9hello')}
return {struct.unpack('s', 'hello')}
return {struct.unpack('i', 'abc')}
return {struct.unpack('i', 'abcdefgh', 3)}
return {struct.unpack('i', 'abcdefgh', 6)}
return {struct.unpack('i', 'abcdefgh', 0)}
return {struct.unpack('i', 'abcdefgh', -1)}
return {struct.unpack('b', 'abc', 'x')}
return {struct.unpack('!4bi', '\1\0\0\0\5\0\0\0')}
return {struct.unpack('xb', '\1\2')}
return {struct.unpack('', '')}
return {struct.unpack()}
return {struct.unpack('i')}
return {struct.unpack('y', 'abc')}
return {struct.unpack('i16', struct.pack('i16', 5))}
return {struct.unpack('i12', string.rep('\255', 12))}
return {struct.unpack('>i12', string.rep('\255', 12))}
return {#{struct.unpack(string.rep('b', 300), string.rep('x', 300))}}
return struct.size('bhilT')
return struct.size('!8bd')
return struct.size('c10')
return struct.size('c0')
return struct.size('s')
return struct.size('i5x')
return struct.size('y')
return struct.size('!3')
return struct.size('i99')
return struct.size()
return struct.size('c2147483647')
return struct.size('c2147483648')
return struct.size('fd!4 ><')
