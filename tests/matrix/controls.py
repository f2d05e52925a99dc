"""Answers that are not the same. The comparison must notice each, or no row means anything."""

import gzip

from compare import Answer, differs

TYPE = "text/plain; version=0.0.4"
BODY = b'# TYPE jobs gauge\njobs{queue="a"} 1\njobs{queue="b"} 2\nage_seconds 3\n'
LATER = BODY.replace(b"seconds 3", b"seconds 5")


def answer(body=BODY, status=200, kind=TYPE, encoding=None):
    headers = {"content-type": kind} | ({"content-encoding": encoding} if encoding else {})
    return Answer(status, "OK", headers, body)


def family(value):
    """One gauge in delimited protobuf."""
    metric = b"\x12\x09\x09" + value * 8
    message = b"\x0a\x04jobs\x18\x01\x22" + bytes([len(metric)]) + metric
    return answer(bytes([len(message)]) + message, kind="application/vnd.google.protobuf")


PACKED = answer(gzip.compress(BODY), encoding="gzip")
LIVE = [answer(), answer(LATER)]

# The direct answers, and one that must not pass for the same.
DIFFERENT = {
    "a byte": ([answer()], answer(BODY.replace(b"1\n", b"7\n"))),
    "a cut body": ([answer()], answer(BODY[:-5])),
    "a cut live body": (LIVE, answer(BODY[:-14])),
    "an invented line": (LIVE, answer(BODY + b"jobs 3\n")),
    "another type of metric": (LIVE, answer(BODY.replace(b"gauge", b"counter"))),
    "another value": (LIVE, answer(BODY.replace(b"1\n", b"7\n"))),
    "a value of protobuf": ([family(b"\0"), family(b"\0")], family(b"\1")),
    "a status": ([answer()], answer(status=204)),
    "a media type": ([answer()], answer(kind="text/plain")),
    "an encoding": ([answer()], PACKED),
    "what is packed": ([PACKED], answer(gzip.compress(LATER), encoding="gzip")),
}

# And those that must.
SAME = {
    "the same": ([answer()], answer()),
    "a value that changes": (LIVE, answer(BODY.replace(b"seconds 3", b"seconds 4"))),
    "packed at another time": ([PACKED], answer(gzip.compress(BODY, mtime=1), encoding="gzip")),
}


def problems():
    """What the comparison judges wrongly."""
    unnoticed = [f"the comparison does not notice {what}" for what, (direct, through) in DIFFERENT.items() if not differs(direct, through, None, False)]
    wrong = [f"the comparison refuses {what}" for what, (direct, through) in SAME.items() if differs(direct, through, None, False)]
    return unnoticed + wrong
