"""The HTTP side of CryptoPulse: lifetimes, routes, tokens, errors as statuses."""
