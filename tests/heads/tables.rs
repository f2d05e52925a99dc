//! What a part of a head is replaced with. Most of it has been used for request smuggling, or is the
//! edge of a rule of RFC 9110, 9112 or 3986.

pub const METHODS: &[&[u8]] = &[
    b"HEAD", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"M-SEARCH", b"get", b"Get",
    b"gET", b"GETT", b"GE", b"", b" GET", b"\tGET", b"GET\0", b"G\0ET", b"G ET", b"GE\tT", b"GET,",
    b"@GET", b"G\xc3\x84T", b"\xffGET", b"GET\r", b"GET\x7f", b"\"GET\"", b"HEAD ", b"GET:", b"$GET",
];

pub const TARGETS: &[&[u8]] = &[
    b"/", b"/-/sd", b"/-/healthy", b"/-/ready", b"/metrics", b"/metrics?", b"/?refresh=off", b"/?x",
    b"/-/sd?x", b"/node?", b"/node??", b"/node?x=1", b"/node?x=%41", b"/node?x=%4", b"/node?x=%zz",
    b"/node?%", b"/node?x[]=1", b"/node?x={1}", b"/node?x=<1>", b"/node?x=\"1\"", b"/node?x=1|2",
    b"/node?x=^", b"/node?x=`", b"/node?x=\\", b"/node?x=\xc3\xb6", b"/node?x=\xff", b"/node?x=\x80",
    b"/node?x=\0", b"/node?x=\x01", b"/node?x=\x7f", b"/node?x=a\tb", b"/node?x= y", b"/node?x=/../y",
    b"/node?x=http://a/", b"/node?x=%0d%0aY:z", b"/node?x=%00", b"/node?x=:@!$&'()*+,;=", b"/node#x",
    b"/node?x#y", b"/node?#", b"/node#", b"#", b"?x", b"", b"*", b"node", b"node/", b"a:80", b"a",
    b"http://a/node", b"http://a", b"https://a/node", b"HTTP://A/node", b"http://b/node", b"http:/node",
    b"http:///node", b"http://user:pass@a/node", b"http://a:80/node", b"ftp://a/node", b"//node",
    b"///node", b"//a/node", b"/node//", b"/node/", b"/node/x", b"/node/../metrics", b"/../node",
    b"/./node", b"/node/.", b"/node/..", b"/..", b"/.", b"/.node", b"/-node", b"/@node", b"/node@1",
    b"/a.b", b"/a_b", b"/_a", b"/a:b", b"/a;b", b"/a=b", b"/a,b", b"/a+b", b"/a!b", b"/a~b", b"/a&b",
    b"/a'b", b"/a(b)", b"/a*b", b"/a$b", b"/%6eode", b"/node%00", b"/node%2f..", b"/%2e%2e/node", b"/%",
    b"/%zz", b"/no de", b"/no\tde", b"/no\0de", b"/no\x01de", b"/no\x7fde", b"/no\rde", b"/no\nde",
    b"/n\xc3\xb6de", b"/node\xff", b"/node\x80", b"/node\"", b"/<node>", b"/node\\x", b"\\node",
    b"/node|x", b"/node^", b"/{node}", b"/node`", b"/[node]", b"/node\x0b", b"/node\x0c", b"/node\x85",
    b"/node.sock", b"/NODE",
];

pub const VERSIONS: &[&[u8]] = &[
    b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/3", b"HTTP/0.9", b"HTTP/9.9", b"http/1.1",
    b"Http/1.1", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.01", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/",
    b"HTTP", b"HTTP/11", b"HTTP/1.1 ", b"HTTP/1.1\t", b" HTTP/1.1", b"\tHTTP/1.1", b"HTTP /1.1",
    b"HTTP/ 1.1", b"HTTP/1 .1", b"HTTPS/1.1", b"RTSP/1.0", b"ICY/1.1", b"", b"HTTP/1.1\0", b"HTTP/1,1",
    b"HTTP/1.1x", b"HTTP/1.1 x", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1.\xb9", b"HTTP/1.1\x0b", b"HTTP\\1.1",
    b"HTTP/1.1.1", b"XHTTP/1.1", b"HTTP/4294967297.1", b"HTTP/1.1,", b"HTTP/1.1;x",
];

pub const LINE_ENDS: &[&[u8]] = &[
    b"\n", b"\n", b"\r", b"\r\r\n", b"\r\r\r\n", b" \r\n", b"\t\r\n", b"\n\r", b"\r\n\n", b"\n\r\n",
    b"\r\n\r", b"\0\r\n", b"\x0b\r\n", b"\x0c\r\n", b"\x85", b"\r \n", b"\r\t\n", b"\r\0\n", b"\xe2\x80\xa8",
    b"", b" ", b"\r\n ", b"\r\n\t", b"\r\n \r\n", b"\\r\\n", b"%0d%0a",
];

pub const BEFORE: &[&[u8]] = &[
    b"\r\n", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n", b"\n", b"\n\n", b"\r", b"\r\r\n", b" ", b"\t", b"\0",
    b" \r\n", b"\r\n ", b"\xef\xbb\xbf", b"X\r\n", b"0\r\n\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"\r\nX: y\r\n",
];

pub const ENDS: &[&[u8]] = &[
    b"", b"\n", b"\r", b"\n\r\n", b"\r\r\n", b"\r\n\r\n", b"\r\n\n", b" \r\n", b"\t\r\n", b"\r\n\r\n\r\n",
    b"\0\r\n", b"\r \n", b"\x0b\r\n", b"X\r\n", b":\r\n", b" : \r\n",
];

/// A name, a colon and a space, changed.
pub const NAMES: &[&[u8]] = &[
    b"X Test: ", b"X-Test : ", b"X-Test\t: ", b" X-Test: ", b"\tX-Test: ", b": ", b" : ", b":", b"X-Test",
    b"X-Test ", b"X-Test;", b"X-Test=", b"X\0Test: ", b"\0: ", b"X\xc3\xb6: ", b"\xff: ", b"X_Test: ",
    b"_: ", b"X:Test: ", b"X(Test: ", b"X)Test: ", b"X/Test: ", b"X@Test: ", b"X,Test: ", b"X<Test: ",
    b"X[Test]: ", b"X{Test}: ", b"X=Test: ", b"X?Test: ", b"X\\Test: ", b"\"X-Test\": ", b"X\x7fTest: ",
    b"X\x01Test: ", b"X\x0bTest: ", b"X\rTest: ", b"X\nTest: ", b"X\r\nTest: ", b"X-Test:", b"X-Test:\t",
    b"X-Test:: ", b"X-Test:\0", b"X-Test:\x0b", b"X-Test\x0b: ", b"X!#$%&'*+-.^`|~9: ", b"9: ", b"-: ",
    b"X.Test: ", b"X-Test\xa0: ", b"X-Test\r: ", b"GET / HTTP/1.1", b"HTTP/1.1 200 OK",
];

pub const VALUES: &[&[u8]] = &[
    b"", b" ", b"\t", b"\ta", b"a\t", b"  a  ", b"a\tb", b"a\r\n b", b"a\r\n\tb", b"a\r\n \r\n b", b"a\n b",
    b"a\nb", b"a\rb", b"a\r", b"\ra", b"a\r\r\n b", b"\r\n a", b"\0", b"a\0b", b"\x01", b"a\x08", b"\x0b",
    b"\x0ca", b"\x1b[31m", b"\x7f", b"\x85", b"\xa0a", b"\xff", b"\xc3\xb6", b"\xf0\x9f\x98\x80", b"\"a",
    b"(a", b"a,b,,c", b",", b"a;b=\"c\\", b"a: b", b"a\r\nX: b", b"a\nX: b", b"a\rX: b", b"\xe2\x80\xa8a",
    b"a\x00", b"%0d%0aX: b", b"a\r\nTransfer-Encoding: chunked", b"a\nTransfer-Encoding: chunked",
    b"a\rTransfer-Encoding: chunked", b"a\r\nContent-Length: 5", b"a\nContent-Length: 5",
];

/// Headers whose values are replaced, or that are sent twice.
pub const KNOWN: &[&[u8]] = &[
    b"Accept", b"Accept-Encoding", b"User-Agent", b"X-Test", b"Cookie", b"Authorization", b"TE", b"Trailer",
    b"Keep-Alive", b"Content-Type", b"Max-Forwards", b"Referer", b"Date", b"If-Modified-Since", b"If-None-Match", b"If-Match", b"If-Range", b"Range",
    b"X-HTTP-Method-Override", b"X-Original-URL", b"X-Forwarded-Host", b"Forwarded", b"Via", b"Proxy-Connection",
];

/// Whole lines about the scraper's timeout.
pub const TIMEOUTS: &[&[u8]] = &[
    b"", b"x", b"-1", b"0", b"1", b"1e9", b"1e400", b"nan", b"inf", b"10, 10", b"0x10", b"+5", b"5.", b".5",
    b"5 ", b"10\r\nX-Prometheus-Scrape-Timeout-Seconds: 10", b"\xff", b"0.0000001",
];

pub const HOSTS: &[&[u8]] = &[
    b"", b" ", b"a", b"A", b"a b", b"a\tb", b"a,b", b"a, a", b"a/b", b"/", b"http://a/", b"user@a",
    b"user:pass@a", b"a:80", b"a:", b"a:x", b"a:-1", b"a:+80", b"a:0", b"a:65536", b"a:99999999999999999999",
    b"a:80:80", b":80", b":", b"[::1]", b"[::1]:80", b"[::1]x", b"[::1]:x", b"[::1", b"::1", b"[::1]]", b"[]",
    b"[a]", b"[::1%25eth0]", b"[fe80::1%eth0]", b"[v1.a]", b"[::ffff:1.2.3.4]", b"[1::2::3]", b"[12345::]",
    b"n\xc3\xb6de", b"\xff", b"a\0", b"\0", b"a\x01", b"a\x7f", b"a#b", b"a?b", b"a\\b", b"*", b"a;b", b"a=b",
    b"a'b", b"a(b)", b"a!b", b"a$b", b"a&b", b"a+b", b"a~b", b"a_b", b"_", b"-", b".", b"..", b"a..b", b".a",
    b"a.", b"a..", b"%", b"%2", b"%zz", b"%00", b"%20", b"a%2fb", b"a%2Fb", b"%61", b"%ff", b"127.0.0.1:9443",
    b"0x7f.1", b"999.1.1.1", b"1", b"xn--a", b"localhost", b"a\"", b"<a>", b"a^b", b"a`b", b"a|b", b"{a}",
    b"a\r\n b", b"a\r\n .b", b"\ta", b"a\t", b"a\x0b", b"a\xa0",
];

/// Lines in place of the line about the host.
pub const HOST_LINES: &[&[u8]] = &[
    b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nHost:\r\n", b"Host:\r\nHost: a\r\n",
    b"Host : a\r\n", b"Host\t: a\r\n", b" Host: a\r\n", b"Host\r\n", b"Host a\r\n", b"HOST: a\r\n", b"hOsT: a\r\n",
    b"Host:a\r\n", b"Host:\ta\t\r\n", b"Host:   a\r\n", b"H\0st: a\r\n", b"Host\0: a\r\n", b"Host:: a\r\n",
    b"X-Host: a\r\n", b"Host_: a\r\n", b"host: a\r\nHOST: a\r\n", b"Host: a\nHost: b\r\n", b"Host: a\rHost: b\r\n",
    b"Host:\r\n a\r\n", b"Host: a\r\n b\r\n", b":authority: a\r\n", b"Host: a\r\nX-Forwarded-Host: b\r\n",
];

pub const LENGTHS: &[&[u8]] = &[
    b"0", b"0", b"00", b"+0", b"-0", b"0x0", b"0,0", b"0, 0", b" 0", b"0 ", b"\t0", b"0\t", b"\x0b0", b"0\0",
    b"0;x", b"\"0\"", b"0 0", b"0.0", b"0e0", b"", b",", b"0,", b",0", b"1", b"5", b"05", b"5 ", b"-5", b"+5",
    b"0x5", b"5,5", b"5, 6", b"5,6", b"5 6", b"5_0", b"1e1", b"5.0", b"5\0", b"a", b"NaN", b"40", b"37",
    b"4294967296", b"18446744073709551615", b"18446744073709551616", b"99999999999999999999999", b"\xd9\xa0",
    b"\xb2", b"0\r\n 5", b"0\r\n\t", b"\r\n 0", b"0\r\nContent-Length: 0", b"0\r\nContent-Length: 5",
    b"5\r\nContent-Length: 0", b"5\r\nContent-Length: 5", b"0\r\nTransfer-Encoding: chunked", b"0\nX: y",
];

pub const LENGTH_NAMES: &[&[u8]] = &[
    b"Content-Length: ", b"Content-Length: ", b"Content-Length: ", b"Content-Length: ", b"content-length:",
    b"CONTENT-LENGTH: ", b"Content-Length : ", b"Content-Length\t: ", b" Content-Length: ", b"Content_Length: ",
    b"Content-Length\0: ", b"\0Content-Length: ", b"Content-Length:: ", b"Content-Length\x0b: ", b"Content\rLength: ",
    b"X\rContent-Length: ", b"X: y\nContent-Length: ", b"Content-Length\xa0: ", b"Content-Length; ", b"Content Length: ",
];

pub const CODINGS: &[&[u8]] = &[
    b"chunked", b"chunked", b"Chunked", b"CHUNKED", b"xchunked", b"chunkedx", b"chunke", b"x-chunked", b"identity",
    b"identity, chunked", b"chunked, identity", b"chunked, chunked", b"chunked,chunked", b"gzip, chunked", b"gzip",
    b"deflate", b"x", b"chunked;q=1", b"chunked;", b"chunked ", b"  chunked", b"\tchunked", b"chunked\t",
    b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b"\0chunked", b"chunked\0", b"chu\0nked", b"\"chunked\"",
    b"'chunked'", b"", b" ", b",", b",chunked", b"chunked,", b"chunked, ", b"x, chunked", b"chunked x", b"chunked\r",
    b"\r\n chunked", b"\r\n\tchunked", b"chunked\r\n ", b"x\r\n chunked", b"x\n chunked", b"\nchunked", b"\rchunked",
    b"chunked\r\nTransfer-Encoding: identity", b"identity\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-Encoding: x", b"chunked\r\nContent-Length: 0",
    b"chunked\r\nContent-Length: 5", b"\xa0chunked", b"\x85chunked", b"ch\xc3\xbcnked", b"trailers", b"\xffchunked",
];

pub const CODING_NAMES: &[&[u8]] = &[
    b"Transfer-Encoding: ", b"Transfer-Encoding: ", b"Transfer-Encoding: ", b"Transfer-Encoding: ",
    b"transfer-encoding:", b"TRANSFER-ENCODING: ", b"tRANSFER-ENCODING: ", b"Transfer-Encoding : ",
    b"Transfer-Encoding\t: ", b" Transfer-Encoding: ", b"\tTransfer-Encoding: ", b"Transfer_Encoding: ",
    b"Transfer-Encoding\0: ", b"\0Transfer-Encoding: ", b"Transfer-Encoding:\t", b"Transfer-Encoding:\x0b",
    b"Transfer-Encoding\x0b: ", b"Transfer-Encoding:: ", b"Transfer\rEncoding: ", b"X: y\rTransfer-Encoding: ",
    b"X: y\nTransfer-Encoding: ", b"X\r\n\r\nTransfer-Encoding: ", b"Transfer-Encoding", b"Transfer-Encoding; ",
    b"Transfer Encoding: ", b"Transfer-Encoding\xa0: ", b"TE: ", b"Transfer-Encodin\xc3\xbf: ",
];

pub const BODIES: &[&[u8]] = &[
    b"hello", b"\r\n", b"\r\n\r\n", b"\n", b"0\r\n\r\n", b"0\r\n", b"0\n\n", b"00\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n", b"5;x=y\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r\n", b"0\r\nX: y\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /b HTTP/1.1\r\nX: ", b"GET /b HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n",
    b"ffffffffffffffff\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"\0", b"25\r\nGET /b HTTP/1.1\r\nHost: a\r\nX: 0\r\n\r\n\r\n0\r\n\r\n",
];

pub const CONNECTIONS: &[&[u8]] = &[
    b"close", b"Close", b"CLOSE", b"keep-alive", b"Keep-Alive", b"keep-alive, close", b"close, keep-alive",
    b"keep-alive,close", b"close,x", b"x-close", b"xclose", b"closed", b"close-x", b",close", b"close,", b"close;x",
    b"close x", b"x close", b"\tclose", b"close\t", b"close ,x", b"\"close\"", b"clo\r\n se", b"", b",", b"x", b"upgrade", b"Upgrade, close",
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Accept, close", b"keep-alive\r\nConnection: close",
    b"close\r\nConnection: keep-alive", b"TE", b"HTTP2-Settings", b"close\xff", b"cl\xc3\xb6se", b"close\x0b", b"Keep-Alive\r\nKeep-Alive: timeout=0",
];

/// Whole lines about another protocol, or another course of the request.
pub const UPGRADES: &[&[u8]] = &[
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    b"Upgrade: h2c\r\n", b"Upgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n", b"Upgrade:\r\nConnection: Upgrade\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    b"Expect: 100-continue\r\n", b"Expect: 100-Continue\r\n", b"Expect: x\r\n", b"Expect:\r\n", b"Expect: 200-ok\r\n",
    b"Expect: 100-continue, x\r\n", b"Expect : 100-continue\r\n", b"Expect: 100-continue\r\nExpect: 100-continue\r\n",
    b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"Expect: 100-continue\r\nContent-Length: 0\r\n", b"X-Expect: 100-continue\r\n",
    b"TE: trailers\r\nConnection: TE\r\n", b"Trailer: Host\r\n", b"Proxy-Connection: close\r\n", b"HTTP2-Settings: x\r\n",
];

/// Bytes that separate something in a head, or are no part of one.
pub const SPECIAL: &[u8] = b"\0\x01\t\n\x0b\x0c\r \"#%&'()*+,-./:;<=>?@[\\]^_`{|}~\x7f\x80\x85\xa0\xc3\xff0159aAxX";

pub const SIZES: &[usize] = &[
    63, 64, 65, 100, 255, 256, 257, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 8000, 8191, 8192, 8193, 12_000,
    16_000, 16_383, 16_384, 16_385, 20_000,
];

/// The size of a whole head.
pub const HEAD_SIZES: &[usize] = &[1023, 1024, 1025, 4096, 8192, 16_383, 16_384, 16_385, 16_386, 17_000];

pub const COUNTS: &[usize] = &[20, 40, 50, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 90, 99, 100, 101, 130];
