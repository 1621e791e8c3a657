"""The terminal dashboard: it looks at Redis' pub/sub, and writes no key.

The layers; imports point only downwards:

    app                        the desk: hears, keeps, and paints what changed four times a second
    once, web                  the same picture printed once; in a browser
    screens, widgets           pages, keys, help, export; tables, boxes, tabs: Textual
    lines, tables, text        what is said, as text: pure
    remembered                 what was chosen, between runs
    source, recording          Redis' pub/sub, or a file: what there is to hear
    views, rows                the state at one moment, merged over instances, as values: pure
    state                      apply(state, heard, now_s) -> state: pure; instances, flushes, sentences: its parts
"""
