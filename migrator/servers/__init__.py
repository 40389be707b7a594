"""STARTS A DATABASE: an embedded server for first use and for tests. Every public module is one kind of server.

`attach(folder)` gives an `Attached` with a `url`. Commands that attach to one folder at the same time share one server;
it stops when the last of them detaches or dies, however it dies.

How: the first user starts a keeper (`_keeper`), a detached program that owns the server. Three files in the folder:

    users        every user holds it shared. The keeper that can take it alone knows that nobody is left.
    keeper       held by the keeper from its birth to its end, so there is never a second one.
    server.json  where the server is; written when it is ready, removed before it stops.

A keeper that is killed takes its server along (Linux: PR_SET_PDEATHSIG; elsewhere the next keeper stops the stray).
"""
