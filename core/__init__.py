"""The idea of CryptoPulse: many requests, one upstream call. Knows neither HTTP servers nor screens.

The layers, from the front door down; imports point only downwards:

    service                    the whole core, opened and closed in order
    forecast                   what recorded traffic would cost; simulation: the flush policy on a virtual clock
    snapshots, metrics         how this instance stands, for monitors; for Prometheus
    price_desk                 ask(coins): charge, join, wait, answer; price_request: one request, from ask to answer
    windows                    one for each batch that somebody waits for here, in one nursery; alone settles them
    rounds, window             the one task that claims for all windows; one batch's life here, until full or due
    coin_list                  the list of all coins, asked for rarely
    flusher, ledger, pace      claimed batches: fetch > complete; the month's calls: their count, where they will end
    callers, flush_report      charges, and what monitors see of them; what is told of a flush
    waiters, result_feed       requests parked on this instance; pub/sub that wakes them
    streams                    who is told each new price of some coins
    watch                      what instances tell monitors, while one is watching
    coingecko, coingecko_http  the only ones that know CoinGecko, with the two below: what to ask; how to ask it
    outbox, outbox_stream      prices on their way to Postgres
    tally, coin_tally          what is counted always; of coins, and their last prices; counts: since the start
    lag                        how late the event loop wakes those who sleep
    coordinator                the Lua scripts as methods; no decisions
    history, partitions        prices, and the months of their table; with migrate, schema and postgres, the only ones
                               that know Postgres, beside the migrations
    coingecko_answer           what CoinGecko's answers say; coingecko_headers: what their headers say of time
    admissions, completions    what scripts take and answer; standings: how batches stand, permits: the budget's
    redis_link                 the one owner of the hot Redis connection; redis_connection, lua: its words, the scripts
    postgres                   a few connections, borrowed
    flush_policy               when to call, and for which coins: a pure function
    freshness, limits, month   how old a price may be; what a rate limit says; the months that calls are counted by
    candles                    prices by intervals
    batches, events            states and outcomes; what happens, as frozen structs
    keys, settings, prices, errors     values; process: what the system tells of this one; bell: one task wakes another
    setting_rules, environment  what settings may be, and where they come from; shown_settings: what of them is shown
"""
