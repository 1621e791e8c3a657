"""The terminal dashboard: it looks at Redis' pub/sub, and writes no key.

The layers; imports point only downwards:

    app, live_table, help      the screen: hears, and paints four times a second
    lines, tables, text        what the screen says, as text: pure
    views                      the state at one moment, merged over instances: pure
    source                     Redis' pub/sub, heard for as long as the monitor runs
    state                      apply(state, heard, now_s) -> state: pure
"""
