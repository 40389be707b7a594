"""ASKS: the HTTP API and the pages. What they show comes from the trackers; nothing is kept here."""
