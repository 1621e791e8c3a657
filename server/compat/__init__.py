"""What CoinGecko's own clients expect of an API: its queries, its ways to carry a key, its forms of errors."""
