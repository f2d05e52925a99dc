"""TLS: versions, application protocols, and no resumption."""

import contextlib
import ssl

from endpoint import ending
from verdict import NO, WEAKER, YES, Check

GROUP = "TLS"


def checks(endpoint):
    def add(what, expected, act, good=False):
        return Check(GROUP, what, expected, lambda: act(endpoint), good=good)

    return [
        add("the good scraper", "200, whole", scrape, good=True),
        add("TLS 1.3", "negotiated", version, good=True),
        *(
            Check(GROUP, f"at most {name}", "refused by TLS", lambda newest=newest: refused(endpoint, newest))
            for name, newest in (
                ("TLS 1.2", ssl.TLSVersion.TLSv1_2), ("TLS 1.1", ssl.TLSVersion.TLSv1_1), ("TLS 1.0", ssl.TLSVersion.TLSv1),
            )
        ),
        add("ALPN: none offered", "200", lambda e: scrape(e, alpn=None), good=True),
        add("ALPN: h2, http/1.1", "http/1.1", both),
        add("ALPN: only h2", "refused by TLS", lambda e: alone(e, "h2")),
        add("ALPN: only an unknown one", "refused by TLS", lambda e: alone(e, "acme-tls/1")),
        add("session tickets, which early data needs", "none", tickets),
        add("a second connection with the first one's session", "verified in full", resumed),
    ]  # fmt: skip


def scrape(endpoint, **more):
    seen = endpoint.ask(endpoint.request(), **more)
    good = seen.statuses == [200] and seen.answers[0].whole and seen.answers[0].body
    return (YES if good else NO), str(seen)


def version(endpoint):
    with contextlib.closing(endpoint.open()) as stream:
        return (YES if stream.version() == "TLSv1.3" else NO), str(stream.version())


def refused(endpoint, newest):
    seen = endpoint.ask(endpoint.request(), newest=newest)
    return (NO if seen.data else YES), str(seen)


def both(endpoint):
    seen, chosen = negotiated(endpoint, ["h2", "http/1.1"])
    return {"http/1.1": YES, None: WEAKER}.get(chosen, NO), chosen or seen


def alone(endpoint, name):
    seen, chosen = negotiated(endpoint, [name])
    if chosen:
        return NO, chosen
    return (YES if seen.startswith("alert") else WEAKER), seen


def negotiated(endpoint, names):
    try:
        with contextlib.closing(endpoint.open(alpn=names)) as stream:
            return "TLS without ALPN", stream.selected_alpn_protocol()
    except (ConnectionError, ssl.SSLError) as error:
        return ending(error), None


def session(endpoint):
    context = endpoint.context()
    with contextlib.closing(endpoint.open(session=(context, None))) as stream:
        # Tickets come with or before the first answer.
        endpoint.exchange(stream, endpoint.request())
        return context, stream.session


def tickets(endpoint):
    _, kept = session(endpoint)
    if not (kept and kept.has_ticket):
        return YES, "none"
    honored, _ = resumed(endpoint)
    return (honored if honored == NO else WEAKER), "given" + (" and honored" if honored == NO else ", but not honored")


def resumed(endpoint):
    with contextlib.closing(endpoint.open(session=session(endpoint))) as stream:
        return (NO, "resumed") if stream.session_reused else (YES, "verified in full")
