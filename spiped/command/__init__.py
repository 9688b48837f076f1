"""The programs: one file each, from the command line to the exit status."""
