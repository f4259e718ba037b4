"""Fragments of a packet, in any cut and order, some of them twice, overlapping, or missing."""
import struct

from pkt import ip4, ip6

# The largest fragment, from its IP header on.
MOST = 1480


def piece(family, src, dst, protocol, payload, start, end, ident, mf, **fields):
    """One fragment: the bytes from start to end of a payload."""
    data = payload[start:end]
    if family.version == 4:
        return ip4(src, dst, protocol, data, ident=ident, mf=mf, frag=start, **fields)
    names = {"ttl": "hlim", "tos": "tc"}
    fields = {names[k]: v for k, v in fields.items() if k in names}
    header = struct.pack("!BBHI", protocol, 0, start & ~7 | mf, ident)
    return ip6(src, dst, 44, header + data, **fields)


def cuts(rng, length):
    """Where the fragments begin and end: sizes alike, or at random, or many tiny ones."""
    kind = rng.random()
    if kind < 0.06:
        size = rng.choice([8, 16, 24])
        ends = list(range(size, min(length, size * rng.randint(3, 40)), size))
    elif kind < 0.4:
        size = rng.randrange(8, max(length, 16), 8)
        ends = list(range(size, length, size))
    else:
        ends = sorted({rng.randrange(8, max(length, 16), 8) for _ in range(rng.choice([1, 1, 2, 3, 4, 5]))})
    bounds, at = [], 0
    for end in [e for e in ends if e < length] + [length]:
        while end - at > MOST - 48:
            bounds.append((at, at + 1400))
            at += 1400
        bounds.append((at, end))
        at = end
    return bounds


def ordered(rng, items):
    kind = rng.random()
    if kind < 0.3:
        return list(items)
    if kind < 0.5:
        return list(reversed(items))
    items = list(items)
    rng.shuffle(items)
    return items


def disturbed(rng, bounds, length):
    """What goes wrong on the way: twice, missing, overlapping, of no length, beyond the end, or odd."""
    kind, at = rng.random(), rng.randrange(len(bounds))
    start, end = bounds[at]
    more = [(s, e, e < length) for s, e in bounds]
    if kind < 0.06:
        more.insert(rng.randrange(len(more) + 1), more[at])
    elif kind < 0.1:
        del more[at]
    elif kind < 0.14:
        first = max(0, start - 8)
        more.insert(rng.randrange(len(more) + 1), (first, end, end < length))
    elif kind < 0.16:
        more.insert(rng.randrange(len(more) + 1), (start, start, rng.random() < 0.5))
    elif kind < 0.18:
        more.insert(rng.randrange(len(more) + 1), (length // 8 * 8, length, True))
    elif kind < 0.21 and end - start > 9:
        more[at] = (start, end - rng.randint(1, 7), True)
    return more


def fragments(rng, family, src, dst, protocol, payload, fields):
    """The packet in fragments."""
    ident = fields.pop("ident", 1) + (rng.randrange(1 << 31) if family.version == 6 else 0)
    fields.pop("flow", None)
    fields.pop("df", None)
    bounds = disturbed(rng, cuts(rng, len(payload)), len(payload))
    fixed = rng.choice([[False]] * 8 + [[True], [True, False]])
    marks = rng.choice([[0]] * 12 + [[1, 2], [2, 3], [0, 2], [3]])
    options = b"\x1e\x04\1\2\x9e\x04\3\4" if rng.random() < 0.05 else b""
    out = []
    for start, end, mf in ordered(rng, bounds):
        one = dict(fields)
        one["tos"] = one.get("tos", 0) & ~3 | rng.choice(marks)
        if family.version == 4:
            one["df"] = rng.choice(fixed)
            one["opts"] = options if start == 0 or rng.random() < 0.5 else b""
        out.append(piece(family, src, dst, protocol, payload, start, end, ident, mf, **one))
    return out
