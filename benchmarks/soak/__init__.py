"""Mixed traffic for a while, and then the bill: memory, sockets, tasks, and every counter to the last call."""
