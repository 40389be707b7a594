"""A distribution as the README describes one: an adapter, a format, a kind of notification and a command."""
