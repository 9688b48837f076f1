"""The data plane: what carries connections, from the accepted socket to the end."""
