"""The standard streams as the plaintext side of one connection: what `spipe` is made of."""
