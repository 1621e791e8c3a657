"""Whose request it is when no token tells: the client's address."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def caller_address(peer: str | None, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address: the peer's, or what trusted proxies say in their `X-Forwarded-For` headers.

    Each proxy adds on the right whom it heard from, so the walk goes from the right while the speaker is trusted. A
    value that is no address ends it: what stands left of it may be anybody's invention.
    """
    address = _parse(peer or "")
    if address is None:
        return "unknown"
    hops = [hop for hop in ",".join(forwarded_for).split(",") if hop.strip()]
    while hops and _is_trusted(address, trusted):
        hop = _parse(hops.pop())
        if hop is None:
            break
        address = hop
    return str(address)


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parse(text: str) -> Address | None:
    """An address written plainly, with a port, in brackets or with a zone; IPv4 in IPv6 becomes IPv4."""
    try:
        address = ip_address(_without_port(text.strip()).partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
