"""What the processes let others see: counters, log lines, state for the service manager."""
