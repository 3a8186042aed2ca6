"""NO_PROXY: the servers that are reached without a proxy. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def is_exempt(no_proxy: str, host: str, port: int) -> bool:
    """Return whether a server is in the list `no_proxy`, whose entries are separated by commas or spaces.

    An entry is `*` (every server), a name (also of all hosts below it, with or without `.` or `*.` before it), an
    address, or a range of addresses such as `10.0.0.0/8` or `fd00::/8`. A name or an address may have a port. `host` is
    in lower case, without brackets. A name is not resolved to find it in a range.
    """
    address = _address(host)
    return any(_matches(entry, host, address, port) for entry in no_proxy.lower().replace(",", " ").split())


def _matches(entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            return False
    name, only_port = _split_port(entry)
    if only_port not in ("", str(port)):
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    host = host.rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, str]:
    """Split `host:port`, `[address]:port` or an entry without a port, for which the port is empty."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""  # an IPv6 address has several colons


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
