"""What the processes let others see: counters and the log."""
