"""The log: events with fields, which one log turns into lines for one sink."""
