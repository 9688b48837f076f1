"""What an operator may say: one table of options, the grammar of a command line, and the result."""
