"""The idea of CryptoPulse: many requests, one upstream call. Knows neither HTTP servers nor screens.

The layers, from the front door down; imports point only downwards:

    service                    the whole core, opened and closed in order
    price_desk                 admit(coin): charge, join, wait, answer
    windows                    one for each batch that somebody waits for here, in one nursery
    window, flusher            one batch's life here: wait until full or due > claim > fetch > complete
    waiters, result_feed       requests parked on this instance; pub/sub that wakes them
    callers                    charges; what monitors see of them
    coordinator                the Lua scripts as methods; no decisions
    redis_link                 the one owner of the hot Redis connection; lua: the scripts
    coingecko                  the only one that knows CoinGecko; coingecko_answer: what its answers say
    outbox, outbox_stream      prices on their way to Postgres
    history, migrate           the only ones that know Postgres, beside the migrations
    watch                      what instances tell monitors, while one is watching
    batches, events            states, outcomes and the flush policy; what happens, as frozen structs
    keys, settings, prices, errors     values
"""
