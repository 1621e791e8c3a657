"""HTTP/1.1 on trio: connections between the socket and an ASGI app, or a short way past it.

Each module is one idea, and imports only from those below it:

    connection          the task of a connection, which answers what does not go the short way
    exchange            one request and its answer, as ASGI sees them
    line, site          the socket of a connection; what all connections have in common
    short_way           what a request needs that is answered without a task
    head, body, answer  bytes from and to the wire, without any waiting
    readers             the task that reads for all connections
    idlers              who waits for a request, and how long

What turns out to want HTTP/2 or a WebSocket is told apart in `head`, and goes on with Hypercorn: `handover`.
"""
