"""What the processes let others see: counters and log lines."""
